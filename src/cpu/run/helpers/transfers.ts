/** Software interrupts, IRET, fast system calls and far transfers. */
import { EventType } from '../../interface.ts';
import { CB_SLOW_VALUE, Flag, Status, Vector } from '../../memory/control-block.ts';
import { REC_IMM } from '../../records/record.ts';
import type { Events } from '../../system/events.ts';
import type { FarTransfers } from '../../system/far-transfers.ts';
import type { HelperContext, Helpers } from './context.ts';

export function transferHelpers({ core }: HelperContext, events: Events, far: FarTransfers): Helpers<'transfers'> {
  const { cb } = core;
  const software = (vector: number, type: EventType): number =>
    events.deliver({ type, vector, errorCode: -1, instructionLength: core.length }) === Status.exit ? Status.exit : Status.jump;
  return {
    int3: () => software(Vector.bp, EventType.softwareException),
    int: () => software(cb.get(CB_SLOW_VALUE) & 0xff, EventType.softwareInterrupt),
    into: () => (core.statusFlags() & Flag.of ? software(Vector.of, EventType.softwareException) : Status.next),
    int1: () => software(Vector.db, EventType.privilegedSoftwareException),
    iret: (size) => events.iret(size),
    syscall: () => far.syscall(),
    sysret: (size) => far.sysret(size),
    sysenter: () => far.sysenter(),
    sysexit: (size) => far.sysexit(size),
    callFarPointer: (size) => far.call(far.pointerInRecord(size), size),
    jmpFarPointer: (size) => far.jump(far.pointerInRecord(size)),
    callFar: (size) => far.call(far.pointerInMemory(size), size),
    jmpFar: (size) => far.jump(far.pointerInMemory(size)),
    retFar: (size) => far.ret(size, 0),
    retFarImmediate: (size) => far.ret(size, cb.u32[(core.record + REC_IMM) >> 2]! & 0xffff),
  };
}
