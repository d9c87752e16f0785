/** Dumps of one image from two machines: which lines differ, and whether each difference is a known one. */

/** A known difference: what QEMU prints, with the place where the vCPU differs, and what stands there instead. */
export interface Deviation {
  /** Cases it is about, by their name. */
  cases: string;
  pattern: RegExp;
  /** Replacement of the pattern's match in QEMU's line that gives the vCPU's line. */
  ours: string;
  right: 'ours' | 'qemu' | 'both';
  why: string;
}

export interface Difference {
  line: number;
  qemu: string;
  ours: string;
  /** Index in the table of deviations, or -1. */
  known: number;
}

/** Splits a dump into cases: a line that begins with a space belongs to the one before. */
export function cases(dump: string): string[] {
  const out: string[] = [];
  for (const line of dump.split('\n')) {
    if (/^ {2}?[a-z0-9]+=|^ (memory|pushed|frame at|rcx)/.test(line) && out.length) out[out.length - 1] += ` |${line}`;
    else if (line !== '') out.push(line);
  }
  return out;
}

export function differences(qemu: string, ours: string, deviations: readonly Deviation[]): Difference[] {
  const left = cases(qemu);
  const right = cases(ours);
  const out: Difference[] = [];
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    const a = left[i] ?? '(nothing)';
    const b = right[i] ?? '(nothing)';
    if (a !== b)
      out.push({
        line: i,
        qemu: a,
        ours: b,
        known: deviations.findIndex((one) => one.pattern.test(a) && a.replace(one.pattern, one.ours) === b),
      });
  }
  return out;
}
