/**
 * As much of QEMU's machine protocol as its qtest programs use: one JSON object a line each way.
 * Source: QEMU docs/interop/qmp-spec.txt.
 */
import { qtestDevices } from './qtest-machine.ts';

/** Releases of QEMU whose protocol is spoken; what they tell of a machine differs, and their tests take no field they do not know. */
const qemuReleases = { 7: { micro: 22, minor: 2, major: 7 }, 10: { micro: 0, minor: 0, major: 10 } } as const;
export type QemuRelease = keyof typeof qemuReleases;

interface QmpTarget {
  reset(): void;
  quit(): void;
}

export class Qmp {
  private readonly target: QmpTarget;
  private readonly send: (line: string) => void;
  private readonly release: QemuRelease;

  /** Sends the greeting at once. */
  constructor(target: QmpTarget, send: (line: string) => void, release: QemuRelease = 7) {
    this.target = target;
    this.send = send;
    this.release = release;
    this.reply({ QMP: { version: { qemu: qemuReleases[release], package: '' }, capabilities: [] } });
  }

  /** Serve one line from the client. */
  request(line: string): void {
    if (line.trim() === '') return;
    let message: { execute?: unknown; arguments?: unknown; id?: unknown } | null;
    try {
      message = JSON.parse(line) as typeof message;
    } catch {
      this.reply({ error: { class: 'GenericError', desc: 'JSON parse error' } });
      return;
    }
    if (typeof message?.execute !== 'string') {
      this.reply({ error: { class: 'GenericError', desc: "QMP input must be a JSON object with a string 'execute'" } });
      return;
    }
    const id = message.id === undefined ? {} : { id: message.id };
    const result = this.execute(message.execute);
    if (result === undefined)
      this.reply({ error: { class: 'CommandNotFound', desc: `The command ${message.execute} has not been found` }, ...id });
    else this.reply({ return: result, ...id });
    if (message.execute === 'system_reset') {
      this.target.reset();
      this.event('RESET', { guest: false, reason: 'host-qmp-system-reset' });
    }
    if (message.execute === 'quit') this.target.quit();
  }

  event(name: string, data: object): void {
    const now = Date.now();
    this.reply({ timestamp: { seconds: Math.floor(now / 1000), microseconds: (now % 1000) * 1000 }, event: name, data });
  }

  private execute(command: unknown): unknown {
    switch (command) {
      case 'qmp_capabilities':
      case 'system_reset':
      case 'quit':
        return {};
      case 'query-version':
        return { qemu: qemuReleases[this.release], package: '' };
      case 'query-machines':
        return [
          {
            name: this.release === 7 ? 'pc-i440fx-7.2' : 'pc-i440fx-10.0',
            alias: 'pc',
            'is-default': true,
            'cpu-max': 1,
            'hotpluggable-cpus': false,
            'numa-mem-supported': false,
            deprecated: false,
            ...(this.release === 7 ? {} : { acpi: true }),
          },
        ];
      case 'qom-list-types':
        return [...qtestDevices, 'i440FX-pcihost'].map((name) => ({ name }));
      default:
        return undefined;
    }
  }

  private reply(message: object): void {
    this.send(JSON.stringify(message));
  }
}
