import { DATA_HVM, LOST, type TracedPcpu } from './domains.ts';
import type { Engine } from './engine.ts';
import { ERR_ASSERT, ERR_FILE, ERR_RECORD } from './errors.ts';
import { loseVcpu, vcpuNextUpdate, vcpuPrevUpdate } from './sched.ts';
import { TRC_LOST_RECORDS, TRC_TRACE_WRAP_BUFFER } from '../events.ts';
import { LOST_RECORDS_END } from '../format/merge.ts';
import { MAX_CPUS } from '../writer.ts';

/** Records of class gen: lost records, and the filler at a ring's end. */
export function baseProcess(engine: Engine, p: TracedPcpu): void {
  switch (p.event) {
    case TRC_TRACE_WRAP_BUFFER:
      break;
    case TRC_LOST_RECORDS:
      lostRecords(engine, p);
      break;
    case LOST_RECORDS_END:
      lostRecordsEnd(engine, p);
      break;
    default:
      engine.processGeneric(p);
  }
}

function lostRecords(engine: Engine, p: TracedPcpu): void {
  if (p.extra !== 4) {
    engine.warn(`FATAL: Lost record has unexpected extra words ${p.extra}!\n`);
    engine.error(ERR_RECORD, p);
    return;
  }
  const words = p.words;
  const d = p.data;
  const domid = words[d + 1]! & 0xffff;
  const vcpu = words[d + 1]! >>> 16;
  // The order TSC takes the CPU's skew into account; xenalyze uses the plain one here.
  const firstTsc = p.orderTsc - p.skew;
  if (engine.text) {
    const out = engine.line(32);
    out.str(' lost_records count ');
    out.d(words[d]!);
    out.byte(32);
    engine.who(domid, vcpu);
    if (p.current !== null) {
      out.str(' (cur ');
      engine.who(p.current.domain.id, p.current.id);
    } else {
      out.str(' (cur X');
    }
    out.str(') first_tsc ');
    out.d64(words[d + 2]!, words[d + 3]!);
    out.byte(10);
  }
  const current = p.current;
  if (current !== null) {
    current.clearIpis();
    if (current.dataType === DATA_HVM) {
      current.hvm!.vmexitValid = false;
      current.hvm!.cr3Low = current.hvm!.cr3High = 0;
    }
    vcpuPrevUpdate(engine, p, current, firstTsc, LOST);
  }
  if (!p.lostActive) {
    engine.lostCpus++;
    if (engine.lostCpus > engine.merge.maxActivePcpu + 1) {
      engine.warn(`ERROR: P.lost_cpus ${engine.lostCpus} > P.max_active_pcpu + 1 ${engine.merge.maxActivePcpu + 1}!\n`);
      engine.error(ERR_ASSERT, null);
    }
  } else {
    engine.warn(`Strange, lost record for pcpu ${p.pid}, but lost_record still active!\n`);
  }
  p.lostActive = true;
  p.lostTsc = firstTsc;
  p.lostCount = words[d]! >>> 0;
  engine.drawPcpu(p);
  for (const domain of engine.domains) {
    for (const v of domain.vcpus) {
      if (v === undefined || v.runstate === 0) continue;
      if (engine.options.dump) engine.warn(`process_lost_records: setting d${domain.id}v${v.id} to RUNSTATE_LOST\n`);
      loseVcpu(engine, v, firstTsc);
    }
  }
  p.lostDomainValid = engine.options.exact || vcpu <= MAX_CPUS;
  p.lostDomid = domid;
  p.lostVcpu = vcpu;
}

function lostRecordsEnd(engine: Engine, p: TracedPcpu): void {
  if (!p.lostActive) {
    engine.warn(`FATAL: lost_records_end but pid ${p.pid} not lost!\n`);
    engine.error(ERR_FILE, null);
    return;
  }
  if (p.tsc <= p.lostTsc) return;
  const out = engine.out;
  if (engine.text) {
    out.str('               ');
    engine.pcpuRow(p.pid);
    out.str(' lost_records end ---\n');
  }
  if (engine.options.summary) p.lost.add(p.tsc - p.lostTsc);
  engine.transitions?.lost(p.pid, p.lostCount, p.lostTsc - engine.firstTsc, p.tsc - engine.firstTsc);
  if (p.lostDomainValid) {
    if (engine.text) {
      out.str('               ');
      engine.pcpuRow(p.pid);
      out.str(' lost_records end ');
      engine.who(p.lostDomid, p.lostVcpu);
      out.str('---\n');
    }
    if (p.current !== null) {
      engine.warn(
        `FATAL: lost_record valid (d${p.lostDomid}v${p.lostVcpu}), but current d${p.current.domain.id}v${p.current.id}!\n`,
      );
      engine.error(ERR_FILE, null);
      return;
    }
    if (engine.options.dump) engine.warn(`Changing p${p.pid} current to d${p.lostDomid}v${p.lostVcpu}\n`);
    vcpuNextUpdate(engine, p, engine.vcpu(p.lostDomid, p.lostVcpu), p.tsc);
    p.lostDomainValid = false;
    p.seenValidSchedule = false;
  } else if (engine.text) {
    out.str('               ');
    engine.pcpuRow(p.pid);
    out.str(' lost_records end (domain invalid)---\n');
  }
  p.lostActive = false;
  engine.drawPcpu(p);
  engine.lostCpus--;
  if (engine.lostCpus < 0) {
    engine.warn(`ERROR: lost_cpus fell below 0 for pcpu ${p.pid}!\n`);
    engine.error(ERR_ASSERT, null);
  }
}
