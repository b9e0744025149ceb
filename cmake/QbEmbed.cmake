# Makes OUT, a C file with the bytes of IN.
file(READ ${IN} hex HEX)
string(LENGTH "${hex}" digits)
math(EXPR length "${digits} / 2")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
string(REGEX REPLACE "((0x..,){16})" "    \\1\n" bytes "${bytes}")
file(WRITE ${OUT} "/* Made from configs/qbatch-manifest.schema.json. */
#include \"command/commands.h\"

const char qb_schema[] = {
${bytes}
};
const size_t qb_schema_len = ${length};
")
