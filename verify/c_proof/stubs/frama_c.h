/* Frama-C 25 does not know offsetof; the compilers check these assertions. */
#define _Static_assert(condition, text) extern int aqd_checked_by_the_compiler

/* Nor _Alignas. Nothing is proved from an alignment. */
#define _Alignas(bytes)
