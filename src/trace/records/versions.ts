import type { Inference } from './infer.ts';

/** What a trace holds, as far as a note about a release depends on it. */
export interface TraceContent {
  /** PV or HVM vCPUs that run kernels of their own: any exit or PV record. */
  readonly guests: boolean;
  /** MMIO or port accesses. */
  readonly io: boolean;
  /** Accesses to the VGA window, 0xa0000 to 0xbffff. */
  readonly vga: boolean;
  /** Domain 0 has HVM exits: it is a PVH dom0. */
  readonly pvhDom0: boolean;
}

interface VersionNote {
  /** N of the first Xen 4.N of which it is true. */
  readonly since: number;
  readonly says: string;
  readonly matters: (content: TraceContent) => boolean;
}

/** What newer releases trace, or do, in another way: a reader who does not know it draws wrong conclusions. */
const NOTES: readonly VersionNote[] = [
  {
    since: 19,
    says: 'a device model in a PVH dom0 maps guest memory without mmu_update hypercalls: that none is traced does not mean that nothing was mapped.',
    matters: (content) => content.pvhDom0,
  },
  {
    since: 20,
    says: 'VGA writes are never buffered: each of them waits for the device model.',
    matters: (content) => content.vga,
  },
  {
    since: 20,
    says: 'an access that crosses a page makes another number of ioreqs than before (it changed in 4.20 and again in 4.21): do not compare counts of ioreqs with those of older releases.',
    matters: (content) => content.io,
  },
  {
    since: 22,
    says: 'this release writes no lazy-FPU records: their absence does not mean that no guest used the FPU.',
    matters: (content) => content.guests,
  },
];

const minor = (release: string | null): number | null => (release === null ? null : Number(release.slice(2)));

/** Sentences about the releases that `inference` leaves possible, as far as they matter to what the trace holds. */
export function versionNotes(inference: Pick<Inference, 'xenFrom' | 'xenTo'>, content: TraceContent): string[] {
  const from = minor(inference.xenFrom);
  const to = minor(inference.xenTo);
  const lines: string[] = [];
  for (const { since, says, matters } of NOTES) {
    if ((to !== null && to < since) || !matters(content)) continue;
    const certain = from !== null && from >= since;
    lines.push(`${certain ? `Since Xen 4.${since}` : `If this is Xen 4.${since} or later`}: ${says}`);
  }
  return lines;
}
