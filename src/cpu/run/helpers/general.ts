/** Arithmetic, the stack, string instructions and ports. */
import { ExitReason, Reg, StringKind } from '../../interface.ts';
import { CB_SLOW_VALUE, Flag, Status } from '../../memory/control-block.ts';
import type { Events } from '../../system/events.ts';
import type { GeneralHelpers } from '../../system/general-helpers.ts';
import type { Segmentation } from '../../system/segmentation.ts';
import type { StringInstructions } from '../../system/string-instructions.ts';
import type { HelperContext, Helpers } from './context.ts';

export function arithmeticHelpers(general: GeneralHelpers): Helpers<'arithmetic'> {
  return {
    divide128: (signed) => general.divide128(signed),
    cmpxchg16b: () => general.cmpxchg16b(),
    daa: () => general.daa(),
    das: () => general.das(),
    aaa: () => general.aaa(),
    aas: () => general.aas(),
    aam: () => general.aam(),
    aad: () => general.aad(),
    bound: (size) => general.bound(size),
    rdrand: () => general.rdrand(),
    xlat: () => general.xlat(),
  };
}

export function stackHelpers(c: HelperContext, general: GeneralHelpers, events: Events): Helpers<'stack'> {
  const { core } = c;
  return {
    enter: (size) => general.enter(size),
    pusha: (size) => general.pusha(size),
    popa: (size) => general.popa(size),
    popfCheck: () => (core.vm86 && core.iopl < 3 ? core.gp(0) : Status.next),
    popf: (size) => {
      const value = core.cb.get(CB_SLOW_VALUE);
      const mask = events.flagsMask(size) & ~Flag.rf;
      // RF is cleared, and by the wider forms VIF and VIP too (SDM vol. 2, POPF, table 4-16).
      const cleared = size === 2 || core.vm86 ? Flag.rf : Flag.rf | Flag.vif | Flag.vip;
      core.rflags = (core.rflags & ~mask & ~cleared) | (value & mask);
      core.mmu.selectSet();
      return c.stepOver();
    },
  };
}

export function stringHelpers(c: HelperContext, strings: StringInstructions): Helpers<'strings'> {
  const { core } = c;
  return {
    movs: (size) => strings.movs(size),
    stos: (size) => strings.stos(size),
    lods: (size) => strings.lods(size),
    cmps: (size) => strings.cmps(size),
    scas: (size) => strings.scas(size),
    ins: (size) => (core.takeCompleted() ? c.stepOver() : strings.ins(size)),
    outs: (size) => (core.takeCompleted() ? c.stepOver() : strings.outs(size)),
  };
}

export function portHelpers(c: HelperContext, segmentation: Segmentation): Helpers<'ports'> {
  const { core } = c;
  const { cb } = core;
  const port = (isIn: boolean, size: number): number => {
    const width = Math.min(size, 4);
    const mask = width === 4 ? ~0 : width === 2 ? 0xffff : 0xff;
    const number = c.value16();
    segmentation.checkPort(number, width);
    if (core.takeCompleted()) {
      if (isIn) {
        const value = core.data32[0]!;
        if (width === 4) cb.setGpr(Reg.rax, value, 0);
        else cb.setGpr(Reg.rax, (cb.gprLo(Reg.rax) & ~mask) | (value & mask), cb.gprHi(Reg.rax));
      }
      return c.stepOver();
    }
    const { exit } = core;
    exit.port = number;
    exit.size = width;
    exit.isWrite = !isIn;
    exit.dataLo = isIn ? 0 : (cb.gprLo(Reg.rax) & mask) >>> 0;
    exit.dataHi = 0;
    exit.string = StringKind.none;
    exit.rep = false;
    exit.repCount = 1;
    return c.exits(ExitReason.ioInstruction);
  };
  return { in: (size) => port(true, size), out: (size) => port(false, size) };
}
