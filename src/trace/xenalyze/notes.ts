/** What xenalyze says of its own bookkeeping: nobody needs to read it. */
const BOOKKEEPING =
  /^(Creating|scan_for_new_pcpu|process_cpu_change: Activating|init_pcpus|First schedule|read_record|deactivate_pcpu|Using first_tsc|record [0-9a-f]+ at offset|Unknown hvm event|process_lost_records|Changing p|sched_runstate_process: \d+ lost|WARNING: p->current null|hvm_generic_postprocess)/;
const KINDS_KEPT = 20;

/** Collects warnings: one line each kind, with how often it came. */
export class Notes {
  private readonly kinds = new Map<string, { first: string; count: number }>();

  add(line: string): void {
    if (BOOKKEEPING.test(line)) return;
    const kind = line.replace(/\d+/g, '#');
    const known = this.kinds.get(kind);
    if (known !== undefined) known.count++;
    else if (this.kinds.size < KINDS_KEPT) this.kinds.set(kind, { first: line.trim(), count: 1 });
  }

  lines(): string[] {
    return [...this.kinds.values()].map(({ first, count }) =>
      count === 1 ? first : `${first} (and ${count - 1} more of the kind)`,
    );
  }
}
