/* The pace: whatever is asked for and when, no ten seconds see more than their share. */
#include <stdlib.h>

#include "host/priority.h"
#include "io/pace.h"
#include "unit.h"

#include "dice.h"

enum { BOOKINGS = 4000 };

struct booked {
    double at;
    uint64_t bytes;
};

/* The most that was let through in any stretch of that length. */
static uint64_t most_within(const struct booked *all, size_t n, double seconds)
{
    uint64_t most = 0, sum = 0;

    for (size_t first = 0, end = 0; first < n; sum -= all[first++].bytes) {
        for (; end < n && all[end].at < all[first].at + seconds; end++)
            sum += all[end].bytes;
        if (sum > most)
            most = sum;
    }
    return most;
}

static void no_ten_seconds_see_more_than_their_share(void)
{
    static const double rates[] = {1e6, 50e6, 2e9};

    for (unsigned seed = 0; seed < 30; seed++) {
        struct dice dice = dice_of(seed);
        struct booked all[BOOKINGS];
        struct qb_pace pace;
        double rate = rates[seed % 3], now = 100;

        qb_pace_init(&pace, rate, 0);
        for (size_t i = 0; i < BOOKINGS; i++) {
            all[i].bytes = roll(&dice, (unsigned)qb_pace_piece(&pace, 256 << 20)) + 1;
            if (roll(&dice, 50) == 0) /* a pause, for planning perhaps */
                now += roll(&dice, 3000) / 1000.0;
            all[i].at = qb_pace_book(&pace, now, all[i].bytes, 1);
            CU_ASSERT(all[i].at >= now - 0.1001);
            now = all[i].at > now ? all[i].at : now;
            all[i].at = now;
        }
        CU_ASSERT((double)most_within(all, BOOKINGS, 10) <= 10 * rate * 1.05);
        qb_pace_free(&pace);
    }
}

static void what_is_asked_for_without_a_pause_gets_its_share(void)
{
    struct qb_pace pace;
    double now = 5;
    uint64_t sum = 0;

    qb_pace_init(&pace, 1e6, 0);
    while (now < 15) {
        double at = qb_pace_book(&pace, now, 50000, 1);

        now = at > now ? at : now;
        sum += now < 15 ? 50000 : 0;
    }
    CU_ASSERT(sum >= 9900000 && sum <= 10200000);
    qb_pace_free(&pace);
}

static void requests_are_counted_too(void)
{
    struct qb_pace pace;
    double now = 0;
    unsigned n = 0;

    qb_pace_init(&pace, 0, 100);
    for (; now < 10; n++) {
        double at = qb_pace_book(&pace, now, 1 << 20, 1);

        now = at > now ? at : now;
    }
    CU_ASSERT(n >= 990 && n <= 1015);
    CU_ASSERT_EQUAL(qb_pace_piece(&pace, 256 << 20), 256 << 20);
    qb_pace_free(&pace);
}

static bool at_once(void *arg)
{
    ++*(unsigned *)arg;
    return true;
}

static void a_long_wait_can_be_left(void)
{
    struct qb_pace pace;
    unsigned asked = 0;

    qb_pace_init(&pace, 1, 0);
    CU_ASSERT(qb_pace_wait(&pace, 1, 1, at_once, &asked)); /* its turn has come: nothing to leave */
    CU_ASSERT(!qb_pace_wait(&pace, 1000, 1, at_once, &asked) ||
              !qb_pace_wait(&pace, 1, 1, at_once, &asked));
    CU_ASSERT(asked >= 1);
    qb_pace_free(&pace);
}

/* Leaves a wait that the other limit did not end. */
static bool hurry(void *arg)
{
    struct qb_pace *pace = arg;

    if (pace->bytes_per_second > 1)
        return true;
    qb_pace_set(pace, 1e9, 0);
    return false;
}

/* At the old limit the second call would take eleven days. */
static void whoever_waits_hears_of_another_limit(void)
{
    struct qb_pace pace;

    qb_pace_init(&pace, 1, 0);
    qb_pace_book(&pace, 0, 1, 1);
    CU_ASSERT(qb_pace_wait(&pace, 1000000, 1, NULL, NULL));
    CU_ASSERT(qb_pace_wait(&pace, 1, 1, hurry, &pace));
    CU_ASSERT(qb_pace_book(&pace, 10, 1000000000, 1) <= 10);
    CU_ASSERT_DOUBLE_EQUAL(qb_pace_book(&pace, 10, 1, 1), 10.9, 1e-6); /* a tenth at once */
    qb_pace_free(&pace);
}

static void a_limit_can_be_set_and_taken_away(void)
{
    struct qb_pace pace;

    qb_pace_init(&pace, 0, 0);
    CU_ASSERT_EQUAL(qb_pace_piece(&pace, 1 << 30), 1 << 30);
    qb_pace_set(&pace, 1e6, 10);
    CU_ASSERT_EQUAL(qb_pace_piece(&pace, 1 << 30), 64 << 10);
    qb_pace_book(&pace, 100, 0, 5);
    CU_ASSERT_DOUBLE_EQUAL(qb_pace_book(&pace, 100, 0, 1), 100.4, 1e-6);
    qb_pace_set(&pace, 0, 0);
    CU_ASSERT_EQUAL(qb_pace_piece(&pace, 1 << 30), 1 << 30);
    CU_ASSERT_DOUBLE_EQUAL(qb_pace_book(&pace, 100, 1 << 30, 1000), 100, 1e-9);
    qb_pace_free(&pace);
}

static void the_kernels_words_on_pressure_are_read(void)
{
    CU_ASSERT_DOUBLE_EQUAL(qb_pressure_of("some avg10=12.34 avg60=1.00 avg300=0.00 total=1\n"
                                          "full avg10=99.00 avg60=0.00 avg300=0.00 total=1\n"),
                           12.34, 1e-9);
    CU_ASSERT(qb_pressure_of("") < 0);
    CU_ASSERT(qb_pressure_of("some avg60=1") < 0);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(no_ten_seconds_see_more_than_their_share),
        UNIT(what_is_asked_for_without_a_pause_gets_its_share),
        UNIT(requests_are_counted_too),
        UNIT(a_long_wait_can_be_left),
        UNIT(whoever_waits_hears_of_another_limit),
        UNIT(a_limit_can_be_set_and_taken_away),
        UNIT(the_kernels_words_on_pressure_are_read),
    };

    return unit_main("pace", tests, UNIT_COUNT(tests));
}
