#include "amends.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/num.h"
#include "check/census.h"
#include "io/backend.h"

#define UP(field)   .rq = {.set = (field)}
#define KIB         1024u
#define LONG_NAME   300u
#define SHORT_BYTES (40 * KIB + 100)
#define LONG_BYTES  (300 * KIB)

static char folder[64];
static char short_name[128], long_name[128], image_name[128], other_name[128];
static char far_name[LONG_NAME + 1];
static uint8_t short_bytes[qb_round_bytes_dummy];
