#include "util/character.h"

#include "util/text.h"

size_t qb_character(const char *s, uint32_t *c)
{
    size_t len = qb_text_utf8(s);

    *c = len ? (unsigned char)s[0] : 0;
    if (len > 1)
        *c &= 0x7fu >> len;
    for (size_t i = 1; i < len; i++)
        *c = *c << 6 | ((unsigned char)s[i] & 0x3f);
    return len;
}

struct range {
    uint32_t first, end;
};

static bool is_in(uint32_t c, const struct range *ranges, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (c >= ranges[i].first && c < ranges[i].end)
            return true;
    return false;
}

bool qb_character_is_harmful(uint32_t c)
{
    static const struct range harmful[] = {{0, 0x20},        {0x7f, 0xa0},     {0x61c, 0x61d},
                                           {0x200b, 0x2010}, {0x2028, 0x202f}, {0x2060, 0x2070},
                                           {0xfeff, 0xff00}, {0xfff9, 0xfffc}, {0xe0000, 0xe0080}};

    return is_in(c, harmful, sizeof(harmful) / sizeof(harmful[0]));
}

unsigned qb_character_width(uint32_t c)
{
    static const struct range none[] = {{0x300, 0x370}, {0xfe00, 0xfe10}};
    static const struct range wide[] = {{0x1100, 0x1160},  {0x2e80, 0xa4d0},   {0xac00, 0xd7a4},
                                        {0xf900, 0xfb00},  {0xfe30, 0xfe70},   {0xff00, 0xff61},
                                        {0xffe0, 0xffe7},  {0x1f300, 0x1f650}, {0x1f900, 0x1fb00},
                                        {0x20000, 0x3fffe}};

    if (is_in(c, none, sizeof(none) / sizeof(none[0])))
        return 0;
    return is_in(c, wide, sizeof(wide) / sizeof(wide[0])) ? 2 : 1;
}
