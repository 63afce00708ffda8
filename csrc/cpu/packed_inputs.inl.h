// Which rows of its input a convolution reads, for algorithms that keep a copy of them in a thread's scratch.
namespace df {
namespace DF_TARGET {

// f(trajectory, first row, one past the last) for what a thread's share reads.
template <class F>
inline void each_input(const CompiledOp& op, const Partition& part, F&& f) {
  for (int block = part.block; block < part.end_block;) {
    const int b = block / op.row_blocks, end = (b + 1) * op.row_blocks;
    const int last = end < part.end_block ? end : part.end_block;
    int t0 = block % op.row_blocks * kRowBlock, t1 = (last - b * op.row_blocks) * kRowBlock;  // outputs
    t1 = t1 < op.out.length ? t1 : op.out.length;
    if (op.transposed) {
      t0 = (t0 + op.pad - op.k + 1) / op.stride;
      t1 = (t1 - 1 + op.pad) / op.stride + 1;
    } else {
      t0 = t0 * op.stride - op.pad;
      t1 = (t1 - 1) * op.stride - op.pad + op.k;
    }
    f(b, t0 > 0 ? t0 : 0, t1 < op.x.length ? t1 : op.x.length);
    block = last;
  }
}

}  // namespace DF_TARGET
}  // namespace df
