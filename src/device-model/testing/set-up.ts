/** A device model over a fake hypervisor, ready to serve: for specs. */
import type { Logger } from '../../base/logger.ts';
import { setUpPci } from '../../devices/testing/firmware.ts';
import { parseMac } from '../../net/frame.ts';
import { DeviceModel, type DeviceModelOptions } from '../device-model.ts';
import { DmLog, type DmLogForm } from '../log.ts';
import { FakeHypervisor, HandClock } from './fake-hypervisor.ts';

export const GUEST_MAC = '00:16:3e:00:00:01';
/** Where setUpPci() puts the NIC's BARs. */
export const NIC_PORT = 0xc000;
export const NIC_MMIO = 0xf0000000;

interface SetUpOptions extends Partial<DeviceModelOptions> {
  readonly logForm?: DmLogForm;
  readonly ramPages?: number;
  readonly vcpus?: number;
}

export function setUp(options: SetUpOptions = {}) {
  const clock = new HandClock();
  const hv = new FakeHypervisor(options.ramPages, options.vcpus, options.memory);
  const lines: string[] = [];
  const warnings: string[] = [];
  const text: string[] = [];
  const logger: Logger = { debug() {}, info() {}, warn: (message) => warnings.push(message) };
  const log =
    options.logForm === undefined
      ? undefined
      : new DmLog({ form: options.logForm, clock, pid: 152, sink: (piece) => lines.push(...piece.trimEnd().split('\n')) });
  const dm = new DeviceModel({
    memory: hv.memory,
    hypercalls: hv,
    clock,
    logger,
    log,
    nics: [{ model: 'rtl8139', mac: parseMac(GUEST_MAC) }],
    console: (bytes) => text.push(new TextDecoder().decode(bytes)),
    ...options,
  });
  hv.deviceModel = dm;
  setUpPci(dm.pci);
  dm.start();
  hv.calls.length = 0;
  /** Log lines so far, without process id and time. */
  const logged = (): string[] => {
    log?.flush();
    return lines.map((line) => line.replace(/^\d+@\d+\.\d{9}:/, ''));
  };
  return { clock, hv, dm, log, lines, logged, warnings, text };
}
