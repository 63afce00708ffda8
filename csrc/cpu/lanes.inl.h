// Whole vectors and the rest of a row, by one name.
namespace df {
namespace DF_TARGET {

struct Whole {};
struct Rest {
  int n;
};

inline Vec get(const float* p, Whole) { return load(p); }
inline Vec get(const float* p, Rest r) { return load(p, r.n); }
inline void put(float* p, Vec x, Whole) { store(p, x); }
inline void put(float* p, Vec x, Rest r) { store(p, x, r.n); }
inline void put_bytes(uint8_t* p, Int x, Whole) { store_bytes(p, x, kLanes); }
inline void put_bytes(uint8_t* p, Int x, Rest r) { store_bytes(p, x, r.n); }

// f(c, Whole or Rest) for vectors of channels c0 .. c1 - 1; a store of the rest spills into no other channel.
template <class F>
inline void each_vector(int c0, int c1, F&& f) {
  int c = c0;
  for (; c + kLanes <= c1; c += kLanes) f(c, Whole{});
  if (c < c1) f(c, Rest{c1 - c});
}

inline float sum(Vec x) {
  float lanes[kLanes], total = 0;
  store(lanes, x);
  for (float lane : lanes) total += lane;
  return total;
}

}  // namespace DF_TARGET
}  // namespace df
