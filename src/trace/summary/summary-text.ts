import type { Inference } from '../records/infer.ts';
import { versionNotes } from '../records/versions.ts';
import type { TraceContent } from '../records/versions.ts';
import type { Figures, HvmSummary, NamedFigures, TraceSummary, VcpuSummary } from './summary.ts';

/** A summary as tables for a terminal of 100 columns. */

const NAME = 26;
const HEADER = `${''.padEnd(NAME)}${'count'.padStart(10)}${'seconds'.padStart(10)}${'%'.padStart(7)}${'average'.padStart(12)}${'p5'.padStart(11)}${'p50'.padStart(11)}${'p95'.padStart(12)}`;

const row = (name: string, f: Figures): string =>
  `${name.padEnd(NAME - 1)} ${String(f.events).padStart(10)} ${f.seconds.toFixed(3).padStart(9)} ${f.percent.toFixed(2).padStart(6)} ` +
  `${String(f.average).padStart(11)} ${String(f.p5).padStart(10)} ${String(f.p50).padStart(10)} ${String(f.p95).padStart(11)}`;

function section(lines: string[], title: string, rows: readonly NamedFigures[], indent = '  '): void {
  if (rows.length === 0) return;
  lines.push(`${indent}${title}`.padEnd(NAME) + HEADER.slice(NAME));
  for (const r of rows) lines.push(row(`${indent}  ${r.name}`, r));
}

function hvm(lines: string[], h: HvmSummary): void {
  section(lines, 'exit reasons', h.exits);
  section(lines, 'handlers', h.handlers);
  section(lines, 'MMIO exits', h.mmio);
  section(lines, 'control registers', h.crWrites);
  section(lines, 'VMCALL', h.vmcalls);
  section(lines, 'page faults', h.pageFaults);
  section(lines, '  emulated', h.pageFaultsEmulated);
  section(lines, '  not emulated', h.pageFaultsNotEmulated);
  section(lines, '  fixups', h.pageFaultFixups);
  const io = (entries: HvmSummary['pio']): NamedFigures[] =>
    entries.flatMap((e) => [
      ...(e.read === null ? [] : [{ name: `${e.address.toString(16).padStart(8)} read`, ...e.read }]),
      ...(e.write === null ? [] : [{ name: `${e.address.toString(16).padStart(8)} write`, ...e.write }]),
    ]);
  section(lines, 'ports', io(h.pio));
  section(lines, 'MMIO addresses', io(h.mmioAddresses));
  if (h.externalInterrupts.length > 0) {
    lines.push(
      `  external interrupts: ${h.externalInterrupts.map((i) => `${i.name ?? (i.vector === null ? 'other' : `vector ${i.vector}`)} ${i.count}`).join(', ')}`,
    );
  }
  for (const i of h.guestInterrupts) {
    lines.push(`  guest interrupt ${i.vector ?? 'past 349'}: ${i.count}`);
    const halts: [string, Figures][] = [
      ['wake to halt, alone', i.wakeToHaltAlone],
      ['wake to halt, any', i.wakeToHaltAny],
      ['interrupt to halt', i.interruptToHalt],
    ];
    for (const [name, figures] of halts) if (figures.count > 0) lines.push(row(`    ${name}`, figures));
  }
}

function vcpu(lines: string[], domain: number, v: VcpuSummary): void {
  lines.push('', `d${domain}v${v.id}`);
  section(lines, 'runstates', v.runstates);
  section(lines, 'runnable because of', v.runnable);
  section(lines, 'on pCPU', v.affinityByPcpu);
  if (v.hvm !== null) hvm(lines, v.hvm);
  if (v.pv !== null) {
    lines.push(`  PV events: ${v.pv.events.map((e) => `${e.name} ${e.count}`).join(', ')}`);
    for (const call of v.pv.hypercalls)
      lines.push(
        `    ${(call.name ?? 'hypercall').padEnd(30)}[${String(call.number).padStart(2)}] ${String(call.count).padStart(9)}`,
      );
    for (const trap of v.pv.traps) lines.push(`    trap ${String(trap.number).padEnd(25)}     ${String(trap.count).padStart(9)}`);
  }
}

/** What the notes about releases depend on. */
export function traceContent(summary: TraceSummary): TraceContent {
  const vcpus = summary.domains.flatMap((d) => d.vcpus.map((v) => ({ dom: d.id, ...v })));
  return {
    guests: vcpus.some((v) => v.hvm !== null || v.pv !== null),
    io: vcpus.some((v) => v.hvm !== null && (v.hvm.mmio.length > 0 || v.hvm.pio.length > 0)),
    vga: vcpus.some((v) => v.hvm?.vga === true),
    pvhDom0: vcpus.some((v) => v.dom === 0 && v.hvm !== null),
  };
}

/** Which release wrote the trace, and why it must be that one. */
function release(inference: Inference): string {
  const { xenFrom, xenTo } = inference;
  if (xenFrom === null || xenTo === null) return 'its records fit no single Xen release';
  if (inference.told === true) return `read as Xen ${xenFrom}, as given`;
  const range = xenFrom === xenTo ? `Xen ${xenFrom}` : `Xen ${xenFrom} to ${xenTo}`;
  return inference.evidence.length === 0
    ? `fits ${range}: no record distinguishes them`
    : `fits ${range}, because of these records:`;
}

/**
 * Tables of a whole summary, and what wrote the trace.
 * @param assumed nobody told the TSC rate
 */
export function summaryText(summary: TraceSummary, inference: Inference, svm: boolean, assumed = false): string {
  const lines: string[] = [];
  lines.push(
    `${summary.records} records, ${summary.totalSeconds.toFixed(3)} seconds at ${(summary.cpuHz / 1e9).toFixed(3)} GHz, ${svm ? 'SVM' : 'VMX'}; ` +
      release(inference),
  );
  if (assumed) lines.push('  That TSC rate is assumed, as xenalyze takes it: --cpu-hz gives the right one.');
  if (inference.told !== true)
    for (const e of inference.evidence.slice(0, 8)) lines.push(`  0x${e.offset.toString(16).padEnd(10)} ${e.says}`);
  for (const note of versionNotes(inference, traceContent(summary))) lines.push(`  ${note}`);
  for (const p of summary.pcpus) {
    lines.push('', `pCPU ${p.id}: ${p.volume.map((v) => `${v.name} ${v.bytes}`).join(', ')} bytes`);
    const times = [
      { name: 'running', ...p.running },
      { name: 'idle', ...p.idle },
      { name: 'lost', ...p.lost },
    ].filter((t) => t.events > 0);
    section(lines, 'time', times);
  }
  for (const d of summary.domains) {
    lines.push('', `Domain ${d.id}${d.id === 32767 ? ' (idle)' : ''}`);
    section(lines, 'all vCPUs together', d.runstates);
    for (const m of d.memory.doneBy) lines.push(`  memory: ${m.name} done by it ${m.count}`);
    for (const m of d.memory.doneFor) lines.push(`  memory: ${m.name} done for it ${m.count}`);
    if (d.memory.podPopulated.length > 0) lines.push(`  populate on demand, by order: ${d.memory.podPopulated.join(' ')}`);
    for (const c of d.memory.podReclaimContexts) lines.push(`  reclaimed in context ${c.name}: ${c.count}`);
    section(lines, 'emulated at', d.emulateRips);
    for (const v of d.vcpus) vcpu(lines, d.id, v);
  }
  return `${lines.join('\n')}\n`;
}
