# Makes OUT, a C file with the bytes of IN and a NUL, as the array NAME that HEADER declares.
file(READ ${IN} hex HEX)
string(LENGTH "${hex}" digits)
math(EXPR length "${digits} / 2")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
string(REGEX REPLACE "((0x..,){16})" "    \\1\n" bytes "${bytes}")
get_filename_component(from ${IN} NAME)
file(WRITE ${OUT} "/* Made from ${from}. */
#include \"${HEADER}\"

const char ${NAME}[] = {
${bytes}
0};
const size_t ${NAME}_len = ${length};
")
