/* Frama-C 25 does not know offsetof; the compilers check these assertions. */
#define _Static_assert(condition, text) extern int aqd_checked_by_the_compiler

/* What a processor has. */
/*@ assigns \nothing; exits \false; */
int aqd_cpu_supports(void);
#define __builtin_cpu_supports(name) aqd_cpu_supports()
