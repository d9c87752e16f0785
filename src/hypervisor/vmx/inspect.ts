/** What a hang looks like from outside: the stack, interrupts, ioreq slots, runstate and last exits of a vCPU. */
import { gva } from '../../base/address.ts';
import { Efer, Reg, Rights, Seg, type Vcpu } from '../../cpu/interface.ts';
import { pendingPorts2l, upcallPending } from '../events/event-2l.ts';
import type { Domain, VcpuState } from '../domain/domain.ts';
import type { InterruptControllers } from '../chips/irq.ts';
import type { IoreqServers } from '../io/ioreq.ts';
import type { GuestMemory } from '../mm/guest-access.ts';
import type { RecentExits } from './recent-exits.ts';

interface Inspected {
  readonly domain: Domain;
  readonly state: VcpuState;
  readonly engine: Vcpu;
  readonly guest: GuestMemory;
  readonly controllers: InterruptControllers;
  readonly servers: IoreqServers;
  readonly recent: RecentExits;
}

const RUNSTATES = ['running', 'runnable', 'blocked', 'offline'];
const STACK_WORDS = 24;
const WORDS_A_LINE = 4;
const RFLAGS_IF = 0x200;

/** Bits of an address that code at RIP has: 16, 32 or 64. */
export function codeBitness(engine: Vcpu): 16 | 32 | 64 {
  const { registers } = engine;
  const { accessRights } = registers.getSegment(Seg.cs);
  return registers.efer & Efer.lma && accessRights & Rights.long ? 64 : accessRights & Rights.big ? 32 : 16;
}

/** Words from the stack pointer on, of the stack's own width, as far as the page tables go. */
export function stackLines({ engine, guest }: Pick<Inspected, 'engine' | 'guest'>): string[] {
  const { registers } = engine;
  const is64 = codeBitness(engine) === 64;
  const ss = registers.getSegment(Seg.ss);
  const big = (ss.accessRights & Rights.big) !== 0;
  const bytes = is64 ? 8 : big ? 4 : 2;
  const rsp = registers.getGpr(Reg.rsp);
  const pointer = is64 ? rsp : rsp & (big ? 0xffff_ffffn : 0xffffn);
  const start = is64 ? pointer : (ss.base + pointer) & 0xffff_ffffn;
  const lines: string[] = [];
  const word = new Uint8Array(bytes);
  for (let i = 0; i < STACK_WORDS; i++) {
    if (!guest.copyFromLinear(gva(start + BigInt(i * bytes)), word)) {
      lines.push(i === 0 ? `  ${pointer.toString(16).padStart(bytes * 2, '0')}  (not mapped)` : '  (not mapped from here on)');
      break;
    }
    const text = Array.from(word, (b) => b.toString(16).padStart(2, '0'))
      .reverse()
      .join('');
    if (i % WORDS_A_LINE === 0) lines.push(`  ${(pointer + BigInt(i * bytes)).toString(16).padStart(bytes * 2, '0')}  ${text}`);
    else lines[lines.length - 1] += ` ${text}`;
  }
  return lines;
}

/** Interrupts, ioreq slots, runstate and exits; a line each. */
export function waitLines({ domain, state, engine, controllers, servers, recent }: Inspected): string[] {
  const ports = pendingPorts2l(domain);
  const list = (isMasked: boolean): string =>
    ports
      .filter((p) => p.isMasked === isMasked)
      .map((p) => p.port)
      .join(' ') || 'none';
  const ms = (ns: number): string => `${(ns / 1e6).toFixed(3)} ms`;
  const times = RUNSTATES.map((name, i) => `${name} ${ms(state.stateTimeNs(i))}`).join(', ');
  return [
    `Interrupts: ${engine.registers.rflags & RFLAGS_IF ? 'enabled' : 'disabled'} (RFLAGS.IF), ` +
      `${engine.injectionPending ? 'one is being delivered' : 'none is being delivered'}${state.nmiPending ? ', an NMI is pending' : ''}${engine.nmiBlocked ? ', NMIs are blocked' : ''}`,
    ...controllers.inspect(state.id).map((line) => `  ${line}`),
    `  event channels: upcall ${upcallPending(domain, state) ? 'pending' : 'not pending'}; pending ports: ${list(false)}; pending and masked: ${list(true)}`,
    'I/O requests:',
    ...servers.inspect(state).map((line) => `  ${line}`),
    `Runstate: ${RUNSTATES[state.runstate]} for ${ms(domain.pcpu.clock.nowNs() - state.stateEntryNs)}; before that in all: ${times}`,
    `Last of ${recent.total} VM exits of the guest's own:`,
    ...recent.lines(),
  ];
}
