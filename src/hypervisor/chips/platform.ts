/** All chips that live inside the hypervisor for one domain, made, wired and registered in one go. */
import { Hpet } from './hpet.ts';
import type { IoHandlers } from '../io/intercept.ts';
import { VirtualInterruptControllers } from './interrupt-controllers.ts';
import type { PlatformContext } from './platform-context.ts';
import { PmTimer } from './pmtimer.ts';
import { Rtc } from './rtc.ts';
import type { VlapicHost, VlapicOptions } from './vlapic.ts';
import { Vpit } from './vpit.ts';

export interface PlatformOptions extends VlapicOptions {
  hpet: boolean;
}

export interface PlatformHost extends Omit<VlapicHost, 'eoiBroadcast'> {
  /** The guest has set its RTC: by how many seconds it is ahead of the host's time (a buffered TIMEOFFSET request). */
  timeOffset(seconds: number): void;
}

export interface Platform {
  readonly controllers: VirtualInterruptControllers;
  readonly pit: Vpit;
  readonly rtc: Rtc;
  readonly pmTimer: PmTimer;
  readonly hpet: Hpet | undefined;
}

/** Timers are known by the order of their creation: call this at the same point on every thread. */
export function createPlatform(context: PlatformContext, io: IoHandlers, host: PlatformHost, options: PlatformOptions): Platform {
  const controllers = new VirtualInterruptControllers(
    context.memory,
    context.domid,
    context.clock,
    context.timers,
    context.irq,
    io,
    host,
    options,
  );
  const pit = new Vpit(context);
  const rtc = new Rtc(context, (seconds) => host.timeOffset(seconds));
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
  return { controllers, pit, rtc, pmTimer, hpet };
}
