// Functions for compiled_passes.py: the element-wise parts of T5, each in one pass over its tensors.
//
// Contiguous arrays in and out, fp32 arithmetic, the same result for any number of threads: sums have a fixed order,
// and dropout depends on a seed and the position of an element. Conditions are bit arithmetic where a branch would
// prevent the compiler from using vectors.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#ifdef __FAST_MATH__
#error "exp_ needs its sums in their order"
#endif

namespace {

constexpr int64_t kFew = 1 << 14;   // elements that one thread handles sooner than two
constexpr int64_t kBlock = 1 << 12; // elements that one thread takes at once
constexpr int kBits = 24;         // of the random numbers that decide on one element
constexpr uint32_t kSign = 0x80000000u;
constexpr float kMasked = -1e30f; // a mask adds less than this to the score of a masked key

struct bf16 {
  uint16_t bits;
};

inline float as_float(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

inline uint32_t as_bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}

inline float load(const float &from) { return from; }
inline float load(const bf16 &from) { return as_float(uint32_t(from.bits) << 16); }

inline void store(float &to, float value) { to = value; }
inline void store(bf16 &to, float value) {
  const uint32_t bits = as_bits(value);
  const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16; // to nearest, ties to even
  to.bits = uint16_t((bits & ~kSign) > 0x7f800000u ? 0x7fc0u : rounded); // NaN stays NaN
}

// For x below 88; 0 below -87. The polynomial is Cephes', its error below two units in the last place.
inline float exp_(float x) {
  const float whole = 12582912.0f; // 1.5 * 2^23: a sum with it has no fraction, and its low bits are the number
  const float shifted = (x < -87.0f ? -87.0f : x) * 1.44269504f + whole;
  const float n = shifted - whole;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const float power = as_float((as_bits(shifted) + 127u) << 23);
  return x < -87.0f ? 0.0f : p * power;
}

inline float sigmoid(float x) { return 1.0f / (1.0f + exp_(x < -80.0f ? 80.0f : -x)); }

// 32 random bits for each position: a sequence of Weyl through C. Wellons' "lowbias32" (hash-prospector, 2018).
inline uint32_t random_bits(uint64_t seed, uint32_t place) {
  uint32_t x = place * 0x9e3779b9u + uint32_t(seed);
  x ^= x >> 16;
  x *= 0x7feb352du;
  x ^= (x >> 15) ^ uint32_t(seed >> 32);
  x *= 0x846ca68bu;
  return x ^ (x >> 16);
}

// All bits set for a kept element, none for a dropped one; `dropped` is the probability times 2^24.
inline uint32_t kept(uint64_t seed, uint32_t place, int32_t dropped) {
  return ~uint32_t((int32_t(random_bits(seed, place) >> (32 - kBits)) - dropped) >> 31);
}

inline float masked(float value, uint32_t mask) { return as_float(as_bits(value) & mask); }

// Memory of the calling thread, until its next call: a row may be too long for the stack.
inline float *scratch(int64_t size) {
  thread_local std::vector<float> held;
  if (int64_t(held.size()) < size) held.resize(size);
  return held.data();
}

// Calls `each` with every position. Blocks do not depend on the number of threads, and so neither does what is computed
// in vectors and what at their ends.
template <class Each> void everywhere(int64_t size, Each each) {
  const int64_t blocks = (size + kBlock - 1) / kBlock;
#pragma omp parallel for schedule(static) if (size > kFew)
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t end = std::min(size, (block + 1) * kBlock);
#pragma omp simd
    for (int64_t i = block * kBlock; i < end; ++i) each(i);
  }
}

template <class From, class To>
void dropout(const From *values, To *result, int64_t size, int64_t seed, int64_t dropped, float scale) {
  const int32_t bound = int32_t(dropped);
  everywhere(size, [=](int64_t i) {
    store(result[i], masked(load(values[i]) * scale, kept(seed, uint32_t(i), bound)));
  });
}

template <class From, class To>
void rms_norm(const From *values, const float *weight, To *result, float *inverses, int64_t rows, int64_t features,
              float epsilon) {
#pragma omp parallel for schedule(static) if (rows * features > kFew)
  for (int64_t row = 0; row < rows; ++row) {
    const From *in = values + row * features;
    To *out = result + row * features;
    float squares = 0;
#pragma omp simd reduction(+ : squares)
    for (int64_t i = 0; i < features; ++i) squares += load(in[i]) * load(in[i]);
    const float inverse = 1.0f / __builtin_sqrtf(squares / float(features) + epsilon);
    inverses[row] = inverse;
#pragma omp simd
    for (int64_t i = 0; i < features; ++i) store(out[i], load(in[i]) * inverse * weight[i]);
  }
}

// `of_weight` has a row for each part of `at_once` rows.
// d/dx of x / rms(x) * w is (w * g - x^ * mean(w * g * x^)) / rms(x), where x^ = x / rms(x).
template <class Values, class Gradient>
void rms_norm_gradient(const Values *values, const Gradient *gradient, const float *weight, const float *inverses,
                       Values *result, float *of_weight, int64_t rows, int64_t features, int64_t at_once) {
  const int64_t parts = (rows + at_once - 1) / at_once;
#pragma omp parallel for schedule(static) if (rows * features > kFew)
  for (int64_t part = 0; part < parts; ++part) {
    float *total = of_weight + part * features;
    for (int64_t i = 0; i < features; ++i) total[i] = 0;
    const int64_t end = std::min(rows, (part + 1) * at_once);
    for (int64_t row = part * at_once; row < end; ++row) {
      const Values *in = values + row * features;
      const Gradient *given = gradient + row * features;
      const float inverse = inverses[row];
      float sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t i = 0; i < features; ++i) {
        const float product = load(given[i]) * load(in[i]) * inverse;
        total[i] += product;
        sum += product * weight[i];
      }
      const float mean = sum / float(features);
#pragma omp simd
      for (int64_t i = 0; i < features; ++i)
        store(result[row * features + i], (load(given[i]) * weight[i] - load(in[i]) * inverse * mean) * inverse);
    }
  }
}

// (batch, heads, queries, keys); of the mask, steps in a dialogue and in a query.
template <class T>
void softmax(const T *scores, const float *bias, const float *mask, T *shares, T *used, int64_t batch, int64_t heads,
             int64_t queries, int64_t keys, int64_t of_dialogue, int64_t of_query, int64_t seed, int64_t dropped,
             float scale) {
  const int64_t rows = batch * heads * queries;
  const int32_t bound = int32_t(dropped);
#pragma omp parallel for schedule(static) if (rows * keys > kFew)
  for (int64_t row = 0; row < rows; ++row) {
    float *line = scratch(keys);
    const T *in = scores + row * keys;
    const float *biases = bias ? bias + row % (heads * queries) * keys : nullptr;
    const float *masks = mask ? mask + row / (heads * queries) * of_dialogue + row % queries * of_query : nullptr;
    for (int64_t k = 0; k < keys; ++k) line[k] = load(in[k]);
    if (biases)
      for (int64_t k = 0; k < keys; ++k) line[k] += biases[k];
    if (masks)
      for (int64_t k = 0; k < keys; ++k) line[k] += masks[k];
    float most = line[0];
#pragma omp simd reduction(max : most)
    for (int64_t k = 0; k < keys; ++k) most = line[k] > most ? line[k] : most;
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t k = 0; k < keys; ++k) {
      line[k] = exp_(line[k] - most);
      sum += line[k];
    }
    const float inverse = 1.0f / sum;
    T *out = shares + row * keys;
    if (!used) {
      for (int64_t k = 0; k < keys; ++k) store(out[k], line[k] * inverse);
      continue;
    }
    T *left = used + row * keys;
#pragma omp simd
    for (int64_t k = 0; k < keys; ++k) {
      const float share = line[k] * inverse;
      const uint32_t keep = kept(seed, uint32_t(row * keys + k), bound);
      store(out[k], as_float(as_bits(share) | (~keep & kSign)));
      store(left[k], masked(share * scale, keep));
    }
  }
}

template <class T>
void softmax_gradient(const T *gradient, const T *shares, T *of_scores, T *used, float *of_bias, int64_t batch,
                      int64_t rows, int64_t keys, float scale) {
#pragma omp parallel for schedule(static) if (batch * rows * keys > kFew)
  for (int64_t row = 0; row < rows; ++row) {
    float *share = scratch(3 * keys), *given = share + keys, *total = given + keys;
    for (int64_t k = 0; k < keys; ++k) total[k] = 0;
    for (int64_t one = 0; one < batch; ++one) {
      const int64_t at = (one * rows + row) * keys;
      float sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t k = 0; k < keys; ++k) {
        const float with_sign = load(shares[at + k]);
        const uint32_t keep = ~uint32_t(int32_t(as_bits(with_sign)) >> 31);
        share[k] = masked(with_sign, ~kSign);
        given[k] = masked(load(gradient[at + k]) * scale, keep);
        sum += share[k] * given[k];
        store(used[at + k], masked(with_sign * scale, keep));
      }
#pragma omp simd
      for (int64_t k = 0; k < keys; ++k) {
        const float result = share[k] * (given[k] - sum);
        total[k] += result;
        store(of_scores[at + k], result);
      }
    }
    if (of_bias)
      for (int64_t k = 0; k < keys; ++k) of_bias[row * keys + k] = total[k];
  }
}

// One query per row and head: every key and value is read once, none after the last unmasked one.
template <class T>
void decode_attention(const T *query, const T *keys, const T *values, const float *bias, const float *mask, T *result,
                      int64_t rows, int64_t heads, int64_t count, int64_t features, int64_t of_row) {
  // Rows are sorted by length where it matters: each thread takes every other head.
#pragma omp parallel for schedule(static, 1) if (rows * heads * count * features > kFew)
  for (int64_t at = 0; at < rows * heads; ++at) {
    const float *biases = bias ? bias + at % heads * count : nullptr;
    const float *masks = mask ? mask + at / heads * of_row : nullptr;
    int64_t seen = count;
    while (masks && seen > 1 && masks[seen - 1] < kMasked) --seen;
    float *wanted = scratch(2 * features + seen), *total = wanted + features, *shares = total + features;
    for (int64_t i = 0; i < features; ++i) wanted[i] = load(query[at * features + i]);
    const T *key = keys + at * count * features, *value = values + at * count * features;
    float most = -__builtin_inff();
    for (int64_t k = 0; k < seen; ++k) {
      float score = 0;
#pragma omp simd reduction(+ : score)
      for (int64_t i = 0; i < features; ++i) score += wanted[i] * load(key[k * features + i]);
      shares[k] = score + (biases ? biases[k] : 0.0f) + (masks ? masks[k] : 0.0f);
      most = shares[k] > most ? shares[k] : most;
    }
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t k = 0; k < seen; ++k) {
      shares[k] = exp_(shares[k] - most);
      sum += shares[k];
    }
    for (int64_t i = 0; i < features; ++i) total[i] = 0;
    for (int64_t k = 0; k < seen; ++k) {
#pragma omp simd
      for (int64_t i = 0; i < features; ++i) total[i] += shares[k] * load(value[k * features + i]);
    }
    const float inverse = 1.0f / sum;
    for (int64_t i = 0; i < features; ++i) store(result[at * features + i], total[i] * inverse);
  }
}

constexpr float kRoot = 1.5957691216057308f; // 2 * sqrt(2 / pi): (1 + tanh(x)) / 2 is the sigmoid of 2 * x
constexpr float kCube = 0.044715f;

template <class T>
void gated_gelu(const T *gate, const T *linear, T *result, int64_t size, int64_t seed, int64_t dropped, float scale) {
  const int32_t bound = int32_t(dropped);
  everywhere(size, [=](int64_t i) {
    const float x = load(gate[i]);
    const float value = x * sigmoid(kRoot * x * (1.0f + kCube * x * x)) * load(linear[i]) * scale;
    store(result[i], masked(value, kept(seed, uint32_t(i), bound)));
  });
}

template <class T>
void gated_gelu_gradient(const T *gradient, const T *gate, const T *linear, T *of_gate, T *of_linear, int64_t size,
                         int64_t seed, int64_t dropped, float scale) {
  const int32_t bound = int32_t(dropped);
  everywhere(size, [=](int64_t i) {
    const float x = load(gate[i]), square = x * x;
    const float s = sigmoid(kRoot * x * (1.0f + kCube * square));
    const float slope = s + x * s * (1.0f - s) * kRoot * (1.0f + 3.0f * kCube * square);
    const float given = masked(load(gradient[i]) * scale, kept(seed, uint32_t(i), bound));
    store(of_gate[i], given * load(linear[i]) * slope);
    store(of_linear[i], given * x * s);
  });
}

} // namespace

// One function per pair of types; names end as in compiled_passes.py.
#define SUMMTUNE_PAIR(a, A, b, B)                                                                                      \
  void dropout_##a##_##b(const A *v, B *r, int64_t n, int64_t s, int64_t d, float c) { dropout(v, r, n, s, d, c); }    \
  void rms_norm_##a##_##b(const A *v, const float *w, B *r, float *i, int64_t n, int64_t f, float e) {                 \
    rms_norm(v, w, r, i, n, f, e);                                                                                     \
  }                                                                                                                    \
  void rms_norm_gradient_##a##_##b(const A *v, const B *g, const float *w, const float *i, A *r, float *o, int64_t n,  \
                                   int64_t f, int64_t p) {                                                             \
    rms_norm_gradient(v, g, w, i, r, o, n, f, p);                                                                      \
  }
#define SUMMTUNE_TYPE(a, A)                                                                                            \
  void softmax_##a(const A *x, const float *b, const float *m, A *s, A *u, int64_t n, int64_t h, int64_t q, int64_t k, \
                   int64_t i, int64_t j, int64_t seed, int64_t d, float c) {                                           \
    softmax(x, b, m, s, u, n, h, q, k, i, j, seed, d, c);                                                              \
  }                                                                                                                    \
  void softmax_gradient_##a(const A *g, const A *s, A *o, A *u, float *b, int64_t n, int64_t r, int64_t k, float c) {  \
    softmax_gradient(g, s, o, u, b, n, r, k, c);                                                                       \
  }                                                                                                                    \
  void decode_attention_##a(const A *q, const A *k, const A *v, const float *b, const float *m, A *r, int64_t n,       \
                            int64_t h, int64_t c, int64_t f, int64_t i) {                                              \
    decode_attention(q, k, v, b, m, r, n, h, c, f, i);                                                                 \
  }                                                                                                                    \
  void gated_gelu_##a(const A *x, const A *y, A *r, int64_t n, int64_t s, int64_t d, float c) {                        \
    gated_gelu(x, y, r, n, s, d, c);                                                                                   \
  }                                                                                                                    \
  void gated_gelu_gradient_##a(const A *g, const A *x, const A *y, A *o, A *p, int64_t n, int64_t s, int64_t d,        \
                               float c) {                                                                              \
    gated_gelu_gradient(g, x, y, o, p, n, s, d, c);                                                                    \
  }

extern "C" {
SUMMTUNE_PAIR(f32, float, f32, float)
SUMMTUNE_PAIR(f32, float, bf16, bf16)
SUMMTUNE_PAIR(bf16, bf16, f32, float)
SUMMTUNE_PAIR(bf16, bf16, bf16, bf16)
SUMMTUNE_TYPE(f32, float)
SUMMTUNE_TYPE(bf16, bf16)
}
