import { leastWords } from '../records/shortest.ts';
import { describe } from './describe.ts';
import { DATA_HVM, DATA_NONE, IDLE_DOMAIN } from './domains.ts';
import type { TracedPcpu } from './domains.ts';
import { baseProcess } from './base.ts';
import { ERR_RECORD } from './errors.ts';
import { Engine } from './engine.ts';
import { hvmProcess } from './hvm.ts';
import { dom0Process, hwProcess, memProcess } from './mem.ts';
import { pvProcess } from './pv.ts';
import { loseVcpu, pcpuRunstateUpdate, schedProcess } from './sched.ts';
import { shadowProcess } from './shadow.ts';

const TOPLEVEL_HVM = 3;
const TOPLEVEL_SHADOW = 6;
const TOPLEVEL_PV = 5;

/**
 * Follows a trace record by record as xenalyze does: who runs where, what each exit was for and how long it took; and
 * on request writes xenalyze's line for every record. The rules are xenalyze's own (tools/xentrace/xenalyze.c of
 * Xen 4.17), odd ones included: figures and text are compared with it.
 */
export class Follower extends Engine {
  protected override deactivated(p: TracedPcpu): void {
    if (p.current === null) return;
    pcpuRunstateUpdate(this, p, p.lastTsc);
    this.warn(`deactivate_pcpu: setting d${p.current.domain.id}v${p.current.id} to state LOST\n`);
    loseVcpu(this, p.current, p.lastTsc);
  }

  protected override process(p: TracedPcpu): void {
    p.summary = true;
    this.records++;
    const tsc = p.tsc;
    if (tsc !== 0 && tsc >= this.firstTsc) {
      const order = p.orderTsc;
      if (this.firstTsc === 0) this.firstTsc = order;
      this.now = order;
    }
    if (this.options.dump) {
      this.drawPcpus(p.pid);
      if (this.text) {
        this.out.reserve();
        this.makeHeader(p);
      }
    }
    const event = p.event;
    const main = (event >>> 16) & 0xff;
    if (main === 0 || (main & (main - 1)) !== 0) {
      let bits = 0;
      for (let m = main; m !== 0; m &= m - 1) bits++;
      if (this.options.exact || event >>> 16 !== 0x800) {
        this.warn(
          `FATAL: unexpected number bits(${bits}) in evt.main! event ${event.toString(16)} main ${((event >>> 16) & 0xfff).toString(16)} ` +
            `sub ${((event >>> 12) & 15).toString(16)} minor ${(event & 0xfff).toString(16)}\n`,
        );
        this.error(ERR_RECORD, this.options.exact ? null : p);
      }
      if (!this.options.exact && this.text) this.generic(p);
      return;
    }
    const toplevel = 31 - Math.clz32(main);
    if (!this.options.exact && p.extra < leastWords(event)) {
      if (this.text) this.generic(p);
    } else if (toplevel !== TOPLEVEL_HVM && toplevel !== TOPLEVEL_PV && toplevel !== TOPLEVEL_SHADOW) {
      switch (toplevel) {
        case 0:
          baseProcess(this, p);
          break;
        case 1:
          schedProcess(this, p);
          break;
        case 2:
          dom0Process(this, p);
          break;
        case 4:
          memProcess(this, p);
          break;
        default:
          hwProcess(this, p);
      }
    } else if (this.mayProcess(p, toplevel)) {
      switch (toplevel) {
        case TOPLEVEL_HVM:
          hvmProcess(this, p);
          break;
        case TOPLEVEL_PV:
          pvProcess(this, p);
          break;
        default:
          shadowProcess(this, p);
      }
    }
    p.volume.toplevel[toplevel]! += p.size;
  }

  /** HVM, shadow and PV records need a vCPU of their kind. */
  private mayProcess(p: TracedPcpu, toplevel: number): boolean {
    const current = p.current;
    if (current === null) {
      this.refuse(p, 'WARNING: p->current null!  Not processing\n');
      return false;
    }
    if (current.domain.id === IDLE_DOMAIN) {
      this.refuse(p, 'WARNING: Unexpected record for idle domain! Not processing\n');
      return false;
    }
    const expected = toplevel === TOPLEVEL_PV ? 2 : DATA_HVM;
    if (current.dataType !== DATA_NONE && current.dataType !== expected) {
      this.refuse(
        p,
        `WARNING: Unexpected vcpu data type for d${current.domain.id}v${current.id} on proc ${p.pid}! ` +
          `Expected ${expected} got ${current.dataType}. Not processing\n`,
      );
      return false;
    }
    return true;
  }

  private refuse(p: TracedPcpu, text: string): void {
    if (this.options.exact || !this.options.dump) {
      this.warn(text);
      this.warnGeneric(p);
    } else if (this.text && !describe(this, p)) {
      this.generic(p);
    }
  }
}
