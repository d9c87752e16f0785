/** Makes a failing case smaller while it keeps failing: fewer instructions, then plainer values. */
import { type Case, REQUEST_SIZE, fx, request } from './case.ts';

/** Does this case still fail? */
export type Fails = (one: Case) => Promise<boolean>;

const MAX_TRIES = 120;

export async function shrink(one: Case, fails: Fails): Promise<Case> {
  let best = one;
  let tries = 0;
  const attempt = async (candidate: Case): Promise<boolean> => {
    if (tries++ >= MAX_TRIES || !(await fails(candidate))) return false;
    best = candidate;
    return true;
  };
  for (let i = 0; i < best.boundaries.length - 1 && best.boundaries.length > 2; ) {
    if (!(await attempt(withoutInstruction(best, i)))) i++;
  }
  const ranges: [number, number][] = [];
  for (let i = 0; i < 16; i++) if (i !== 4) ranges.push([request.gpr + i * 8, 8]);
  ranges.push([request.fx + fx.xmm, 256], [request.fx + fx.st, 128], [request.fsBase, 16]);
  for (const [at, size] of ranges) {
    const candidate = { ...best, record: best.record.slice() };
    const part = candidate.record.subarray(at, at + size);
    if (part.every((byte) => byte === 0)) continue;
    part.fill(0);
    await attempt(candidate);
  }
  return best;
}

/** The case without its instruction `index`; branches over it keep their displacement. */
function withoutInstruction(one: Case, index: number): Case {
  const record = one.record.slice();
  const view = new DataView(record.buffer, 0, REQUEST_SIZE);
  const from = one.boundaries[index]?.offset ?? 0;
  const to = one.boundaries[index + 1]?.offset ?? from;
  const length = view.getUint32(request.codeLength, true);
  record.copyWithin(request.code + from, request.code + to, request.code + length);
  view.setUint32(request.codeLength, length - (to - from), true);
  const boundaries = one.boundaries
    .filter((_, i) => i !== index + 1)
    .map((boundary) => ({ ...boundary, offset: boundary.offset > from ? boundary.offset - (to - from) : boundary.offset }));
  return { ...one, record, boundaries };
}
