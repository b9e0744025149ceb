#include <string.h>

#include "images_parts.h"

void image_feature_names(uint8_t rows[IMAGE_FEATURE_BYTES])
{
    static const struct {
        uint8_t type, bit;
        const char *name;
    } names[] = {
        {0, 0, "dirty bit"},        {0, 1, "corrupt bit"},         {0, 2, "external data file"},
        {0, 3, "compression type"}, {0, 4, "extended L2 entries"}, {1, 0, "lazy refcounts"},
        {2, 0, "bitmaps"},          {2, 1, "raw external data"}};

    memset(rows, 0, IMAGE_FEATURE_BYTES);
    for (unsigned i = 0; i < 8; i++, rows += 48) {
        rows[0] = names[i].type;
        rows[1] = names[i].bit;
        strcpy((char *)rows + 2, names[i].name);
    }
}
