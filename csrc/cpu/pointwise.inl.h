// Ops that treat every element, or every row, by itself.
namespace df {
namespace DF_TARGET {

// f(row pointers, c, lanes) for every vector of a part; `y` is null where the op has no second input.
template <class F>
inline void each_row(const Step& s, const Part& part, const Work& work, F&& f) {
  for (int block = part.block; block < part.end_block; ++block) {
    const int b = block / s.row_blocks, from = block % s.row_blocks * kRowBlock;
    for (int t = from; t < from + kRowBlock && t < s.out.length; ++t) {
      const float* const x = work.arena + s.x.row(b, t);
      const float* const y = s.y.at >= 0 ? work.arena + s.y.row(b, t) : nullptr;
      f(x, y, work.arena + s.out.row(b, t));
    }
  }
}

template <class F>
inline void pointwise(const Step& s, const Part& part, const Work& work, F&& f) {
  each_row(s, part, work, [&](const float* x, const float* y, float* out) {
    each_vector(part.c0, part.c1, [&](int c, auto lanes) { put(out + c, f(x, y, c, lanes), lanes); });
  });
}

// Channels from .. from + n - 1 of `out`, as far as they are the part's, from x[0 ..].
inline void copy_columns(const Part& part, const float* x, int from, int n, float* out) {
  const int c0 = from > part.c0 ? from : part.c0, c1 = from + n < part.c1 ? from + n : part.c1;
  each_vector(c0, c1, [&](int c, auto lanes) { put(out + c, get(x + c - from, lanes), lanes); });
}

inline void run_pointwise(const Step& s, const Part& part, const Work& work) {
  switch (s.op) {
    case kAdd:
      return pointwise(s, part, work, [](const float* x, const float* y, int c, auto lanes) {
        return add(get(x + c, lanes), get(y + c, lanes));
      });
    case kAct:
      return pointwise(s, part, work, [](const float* x, const float*, int c, auto lanes) {
        return mish(get(x + c, lanes));
      });
    case kActVjp:
      return pointwise(s, part, work, [](const float* x, const float* dy, int c, auto lanes) {
        return mul(get(dy + c, lanes), mish_slope(get(x + c, lanes)));
      });
    case kStepBias:
      return pointwise(s, part, work, [&](const float* x, const float*, int c, auto lanes) {
        return add(get(x + c, lanes), get(work.table + s.table + c, lanes));
      });
    case kSlice:
      return pointwise(s, part, work, [&](const float* x, const float*, int c, auto lanes) {
        return get(x + s.lo + c, lanes);
      });
    case kConcat:
      return each_row(s, part, work, [&](const float* x, const float* y, float* out) {
        copy_columns(part, x, 0, s.x.channels, out);
        copy_columns(part, y, s.x.channels, s.y.channels, out);
      });
    default:
      return;
  }
}

}  // namespace DF_TARGET
}  // namespace df
