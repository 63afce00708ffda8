// Ops that treat every element, or every row, by itself.
namespace df {
namespace DF_TARGET {

// f(trajectory, row pointers) for every row of a thread's share; `y` is null where the op has no second input.
template <class F>
inline void each_row(const CompiledOp& op, const Partition& part, const Work& work, F&& f) {
  for (int block = part.block; block < part.end_block; ++block) {
    const int b = block / op.row_blocks, from = block % op.row_blocks * kRowBlock;
    for (int t = from; t < from + kRowBlock && t < op.out.length; ++t) {
      const float* const x = work.arena + op.x.row(b, t);
      const float* const y = op.y.at >= 0 ? work.arena + op.y.row(b, t) : nullptr;
      f(b, x, y, work.arena + op.out.row(b, t));
    }
  }
}

template <class F>
inline void pointwise(const CompiledOp& op, const Partition& part, const Work& work, F&& f) {
  each_row(op, part, work, [&](int, const float* x, const float* y, float* out) {
    each_vector(part.c0, part.c1, [&](int c, auto lanes) { put(out + c, f(x, y, c, lanes), lanes); });
  });
}

// Channels from .. from + n - 1 of `out`, as far as they are the thread's, from x[0 ..].
inline void copy_columns(const Partition& part, const float* x, int from, int n, float* out) {
  const int c0 = from > part.c0 ? from : part.c0, c1 = from + n < part.c1 ? from + n : part.c1;
  each_vector(c0, c1, [&](int c, auto lanes) { put(out + c, get(x + c - from, lanes), lanes); });
}

inline void run_pointwise(const CompiledOp& op, const Partition& part, const Work& work) {
  switch (op.opcode) {
    case kAdd:
      return pointwise(op, part, work, [](const float* x, const float* y, int c, auto lanes) {
        return add(get(x + c, lanes), get(y + c, lanes));
      });
    case kAct:
      return with_act(op.act, [&](auto act) {
        pointwise(op, part, work, [](const float* x, const float*, int c, auto lanes) {
          return decltype(act)::value(get(x + c, lanes));
        });
      });
    case kActVjp:
      return with_act(op.act, [&](auto act) {
        pointwise(op, part, work, [](const float* x, const float* dy, int c, auto lanes) {
          return mul(get(dy + c, lanes), decltype(act)::slope(get(x + c, lanes)));
        });
      });
    case kStepBias:
      return each_row(op, part, work, [&](int b, const float* x, const float*, float* out) {
        const float* const bias = work.table_of(b) + op.table;
        each_vector(part.c0, part.c1, [&](int c, auto lanes) {
          put(out + c, add(get(x + c, lanes), get(bias + c, lanes)), lanes);
        });
      });
    case kFilm:
      return each_row(op, part, work, [&](int b, const float* x, const float*, float* out) {
        const float* const scale = work.table_of(b) + op.table;
        const float* const bias = scale + op.out.channels;
        each_vector(part.c0, part.c1, [&](int c, auto lanes) {
          put(out + c, fma(get(scale + c, lanes), get(x + c, lanes), get(bias + c, lanes)), lanes);
        });
      });
    case kSlice:
      return pointwise(op, part, work, [&](const float* x, const float*, int c, auto lanes) {
        return get(x + op.lo + c, lanes);
      });
    case kConcat:
      return each_row(op, part, work, [&](int, const float* x, const float* y, float* out) {
        copy_columns(part, x, 0, op.x.channels, out);
        copy_columns(part, y, op.x.channels, op.y.channels, out);
      });
    default:
      __builtin_trap();  // verify() lets no other op in
  }
}

}  // namespace DF_TARGET
}  // namespace df
