/* The vector instructions of crc32/ and record_load.c for the proof: values that mean nothing, and
 * no access to memory, which only the functions named load and store make. */
#ifndef AQUEDUCT_PROOF_IMMINTRIN_H
#define AQUEDUCT_PROOF_IMMINTRIN_H

typedef struct {
    unsigned long long low, high;
} __m128i;

typedef struct {
    unsigned long long words[4];
} __m256i;

typedef struct {
    unsigned long long words[8];
} __m512i;

/*@ assigns \nothing; exits \false; */
__m128i _mm_set_epi64x(long long high, long long low);
/*@ assigns \nothing; exits \false; */
__m128i _mm_cvtsi32_si128(int a);
/*@ assigns \nothing; exits \false; */
__m128i _mm_xor_si128(__m128i a, __m128i b);
/*@ assigns \nothing; exits \false; */
__m128i _mm_clmulepi64_si128(__m128i a, __m128i b, int halves);
/*@ assigns \nothing; exits \false; */
int _mm_extract_epi32(__m128i a, int index);
/*@ assigns \nothing; exits \false; */
__m128i _mm_slli_si128(__m128i a, int bytes);
/*@ assigns \nothing; exits \false; */
__m128i _mm_srli_si128(__m128i a, int bytes);
/*@ assigns \nothing; exits \false; */
__m128i _mm_alignr_epi8(__m128i high, __m128i low, int bytes);
/*@ assigns \nothing; exits \false; */
__m128i _mm_blend_epi16(__m128i a, __m128i b, int words);
/*@ assigns \nothing; exits \false; */
__m512i _mm512_zextsi128_si512(__m128i a);
/*@ assigns \nothing; exits \false; */
__m512i _mm512_xor_si512(__m512i a, __m512i b);
/*@ assigns \nothing; exits \false; */
__m512i _mm512_clmulepi64_epi128(__m512i a, __m512i b, int halves);
/*@ assigns \nothing; exits \false; */
long long _mm_cvtsi128_si64(__m128i a);
/*@ assigns \nothing; exits \false; */
long long _mm_extract_epi64(__m128i a, int index);
/*@ assigns \nothing; exits \false; */
__m128i _mm_unpackhi_epi32(__m128i a, __m128i b);
/*@ assigns \nothing; exits \false; */
__m256i _mm256_xor_si256(__m256i a, __m256i b);
/*@ assigns \nothing; exits \false; */
__m256i _mm256_clmulepi64_epi128(__m256i a, __m256i b, int halves);
/*@ assigns \nothing; exits \false; */
__m256i _mm256_broadcastsi128_si256(__m128i a);
/*@ assigns \nothing; exits \false; */
__m128i _mm256_castsi256_si128(__m256i a);
/*@ assigns \nothing; exits \false; */
__m256i _mm256_zextsi128_si256(__m128i a);
/*@ assigns \nothing; exits \false; */
__m128i _mm256_extracti128_si256(__m256i a, int index);
/*@ assigns \nothing; exits \false; */
__m256i _mm256_inserti128_si256(__m256i a, __m128i b, int index);
/*@ assigns \nothing; exits \false; */
__m256i _mm512_castsi512_si256(__m512i a);
/*@ assigns \nothing; exits \false; */
__m256i _mm512_extracti64x4_epi64(__m512i a, int index);
/*@ assigns \nothing; exits \false; */
__m256i _mm256_castsi128_si256(__m128i a);
/*@ assigns \nothing; exits \false; */
__m512i _mm512_setzero_si512(void);
/*@ assigns \nothing; exits \false; */
__m512i _mm512_ternarylogic_epi64(__m512i a, __m512i b, __m512i c, int table);
/*@ assigns \nothing; exits \false; */
__m512i _mm512_broadcast_i32x4(__m128i a);

#endif
