/* The vector instructions of crc32.c for the proof: values that mean nothing, and no access to memory, which is `load`'s alone. */
#ifndef AQUEDUCT_PROOF_IMMINTRIN_H
#define AQUEDUCT_PROOF_IMMINTRIN_H

typedef struct {
    unsigned long long low, high;
} __m128i;

/*@ assigns \nothing; exits \false; */
int aqd_cpu_supports(void);
#define __builtin_cpu_supports(name) aqd_cpu_supports()

/*@ assigns \nothing; exits \false; */
__m128i _mm_set_epi64x(long long high, long long low);
/*@ assigns \nothing; exits \false; */
__m128i _mm_setr_epi32(int a, int b, int c, int d);
/*@ assigns \nothing; exits \false; */
__m128i _mm_cvtsi32_si128(int a);
/*@ assigns \nothing; exits \false; */
__m128i _mm_xor_si128(__m128i a, __m128i b);
/*@ assigns \nothing; exits \false; */
__m128i _mm_and_si128(__m128i a, __m128i b);
/*@ assigns \nothing; exits \false; */
__m128i _mm_srli_si128(__m128i a, int bytes);
/*@ assigns \nothing; exits \false; */
__m128i _mm_clmulepi64_si128(__m128i a, __m128i b, int halves);
/*@ assigns \nothing; exits \false; */
__m128i _mm_shuffle_epi8(__m128i a, __m128i by);
/*@ assigns \nothing; exits \false; */
__m128i _mm_blendv_epi8(__m128i a, __m128i b, __m128i mask);
/*@ assigns \nothing; exits \false; */
int _mm_extract_epi32(__m128i a, int index);

#endif
