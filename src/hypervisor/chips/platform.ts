/** All chips that live inside the hypervisor for one domain, made, wired and registered in one go. */
import { Hpet } from './hpet.ts';
import type { IoHandlers } from '../io/intercept.ts';
import { VirtualInterruptControllers } from './interrupt-controllers.ts';
import { GsiLines, HvmIrq, type HvmInterrupts } from './irq.ts';
import type { PlatformBase, PlatformContext } from './platform-context.ts';
import { PmTimer } from './pmtimer.ts';
import { Rtc } from './rtc.ts';
import type { VlapicHost, VlapicOptions } from './vlapic.ts';
import { Vpit } from './vpit.ts';

export interface PlatformOptions extends VlapicOptions {
  hpet: boolean;
}

/** What the chips of one domain are built on. */
export interface PlatformParts extends PlatformBase {
  readonly handlers: IoHandlers;
  readonly host: VlapicHost;
}

export interface Platform extends HvmInterrupts {
  readonly controllers: VirtualInterruptControllers;
  readonly pit: Vpit;
  readonly rtc: Rtc;
  readonly pmTimer: PmTimer;
  readonly hpet: Hpet | undefined;
}

/** Timers are known by the order of their creation: call this at the same point on every thread. */
export function createPlatform(parts: PlatformParts, options: PlatformOptions): Platform {
  const { memory, domid, clock, timers, handlers: io, host } = parts;
  const lines = new GsiLines(memory, domid);
  const controllers = new VirtualInterruptControllers(memory, domid, clock, timers, lines, io, host, options);
  const irq = new HvmIrq(lines, controllers);
  const context: PlatformContext = { memory, domid, clock, timers, irq };
  const pit = new Vpit(context);
  const rtc = new Rtc(context);
  const pmTimer = new PmTimer(context);
  const hpet = options.hpet
    ? new Hpet(context, {
        suppressLegacyIrqs(on) {
          pit.suppressIrq(on);
          rtc.suppressIrq(on);
        },
      })
    : undefined;
  pit.register(io);
  rtc.register(io);
  pmTimer.register(io);
  if (hpet) io.registerMmioHandler(hpet);
  return { irq, controllers, pit, rtc, pmTimer, hpet };
}
