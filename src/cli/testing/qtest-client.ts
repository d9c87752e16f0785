/** A qtest client as QEMU's own test programs are: listens on both sockets, starts the program, drives it. For specs. */
import { createServer, type Server, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { join } from 'node:path';

class Lines {
  private readonly waiting: ((line: string) => void)[] = [];
  private readonly ready: string[] = [];

  attach(socket: Socket): void {
    createInterface({ input: socket }).on('line', (line) => {
      const next = this.waiting.shift();
      if (next) next(line);
      else this.ready.push(line);
    });
  }

  next(): Promise<string> {
    const ready = this.ready.shift();
    return ready === undefined ? new Promise((resolve) => this.waiting.push(resolve)) : Promise.resolve(ready);
  }
}

function listen(path: string): { server: Server; socket: Promise<Socket> } {
  let server!: Server;
  const socket = new Promise<Socket>((resolve) => {
    server = createServer((s) => {
      server.close();
      resolve(s);
    }).listen(path);
  });
  return { server, socket };
}

export class QtestClient {
  readonly args: readonly string[];
  /** IRQ lines seen, in order. */
  readonly irqs: string[] = [];
  private readonly qtest: Promise<Socket>;
  private readonly qmpReady: Promise<Socket>;
  private readonly lines = new Lines();
  private readonly qmpLines = new Lines();
  private socket: Socket | undefined;
  private qmpSocket: Socket | undefined;

  /** Listens in `folder`; `args` then hold the command line that QEMU's library makes. */
  constructor(folder: string, testArgs: readonly string[]) {
    const [qtest, qmp] = [join(folder, 'qtest.sock'), join(folder, 'qmp.sock')];
    this.qtest = listen(qtest).socket;
    this.qmpReady = listen(qmp).socket;
    this.args = [
      '-qtest',
      `unix:${qtest}`,
      '-qtest-log',
      '/dev/null',
      '-chardev',
      `socket,path=${qmp},id=char0`,
      '-mon',
      'chardev=char0,mode=control',
      '-display',
      'none',
      ...testArgs,
      '-accel',
      'qtest',
    ];
  }

  /** Wait for both connections; QMP's greeting and capabilities are exchanged. */
  async ready(): Promise<void> {
    this.socket = await this.qtest;
    this.lines.attach(this.socket);
    this.qmpSocket = await this.qmpReady;
    this.qmpLines.attach(this.qmpSocket);
    const greeting = JSON.parse(await this.qmpLines.next()) as { QMP?: unknown };
    if (!greeting.QMP) throw new Error('no QMP greeting');
    await this.qmp('qmp_capabilities');
  }

  /** One request; gives the words after OK. */
  async command(text: string): Promise<string> {
    this.socket!.write(`${text}\n`);
    for (;;) {
      const line = await this.lines.next();
      if (line.startsWith('IRQ ')) this.irqs.push(line.slice(4));
      else if (line === 'OK' || line.startsWith('OK ')) return line.slice(3);
      else throw new Error(line);
    }
  }

  async number(text: string): Promise<number> {
    return Number(await this.command(text));
  }

  async qmp(execute: string, args?: object): Promise<Record<string, unknown>> {
    this.qmpSocket!.write(`${JSON.stringify({ execute, ...(args ? { arguments: args } : {}) })}\n`);
    return JSON.parse(await this.qmpLines.next()) as Record<string, unknown>;
  }

  async qmpEvent(): Promise<Record<string, unknown>> {
    return JSON.parse(await this.qmpLines.next()) as Record<string, unknown>;
  }

  close(): void {
    this.socket?.destroy();
    this.qmpSocket?.destroy();
  }

  /** Scan bus 0 as QEMU's library does; gives the first function's place with this identity. */
  async findPci(vendor: number, device: number): Promise<number> {
    for (let devfn = 0; devfn < 256; devfn++) {
      if ((await this.configRead(devfn, 0, 'w')) !== vendor) continue;
      if ((await this.configRead(devfn, 2, 'w')) === device) return devfn;
    }
    throw new Error('no such PCI function');
  }

  /** The whole offset goes into 0xcf8, and 0xcfc is read, as QEMU's library does it. */
  async configRead(devfn: number, offset: number, width: 'b' | 'w' | 'l'): Promise<number> {
    await this.command(`outl 0xcf8 ${(0x80000000 | (devfn << 8) | offset) >>> 0}`);
    return this.number(`in${width} 0xcfc`);
  }

  async configWrite(devfn: number, offset: number, width: 'b' | 'w' | 'l', value: number): Promise<void> {
    await this.command(`outl 0xcf8 ${(0x80000000 | (devfn << 8) | offset) >>> 0}`);
    await this.command(`out${width} 0xcfc ${value}`);
  }
}

const CLOCK_HZ = 33_333_333;
const SECOND = 1_000_000_000;

/**
 * What QEMU's rtl8139-test does: find and place the card, then rate, wrap and interrupt of its timer.
 * Throws with a reason where the card falls short.
 */
export async function timerTest(client: QtestClient): Promise<{ rates: number[]; wraps: number }> {
  const check = (ok: boolean, what: string): void => {
    if (!ok) throw new Error(what);
  };
  check((await client.command('endianness')) === 'little', 'endianness');
  const devfn = await client.findPci(0x10ec, 0x8139);
  await client.configWrite(devfn, 0x10, 'l', 0xffffffff);
  const size = (await client.configRead(devfn, 0x10, 'l')) >>> 0;
  check(size === 0xffffff01, `BAR 0 sizes as 0x${size.toString(16)}`);
  await client.configWrite(devfn, 0x10, 'l', 0xc000);
  await client.configWrite(devfn, 0x04, 'w', 7);
  check(((await client.configRead(devfn, 0x04, 'w')) & 7) === 7, 'command bits');
  const [intrMask, intrStatus, timer, timerInt] = [0xc03c, 0xc03e, 0xc048, 0xc054];
  const timeout = async (): Promise<boolean> => ((await client.number(`inw ${intrStatus}`)) & 0x4000) !== 0;

  await client.command(`outw ${intrMask} 0`);
  await client.command(`outl ${timerInt} 0`);
  await client.command(`outw ${intrStatus} 0x4000`);
  await client.command(`outl ${timer} 12345`);
  let current = await client.number(`inl ${timer}`);
  check(current < 0.1 * CLOCK_HZ, `counter is ${current} after a reset`);
  const rates: number[] = [];
  let wraps = 0;
  while (wraps < 3) {
    await client.command(`clock_step ${SECOND}`);
    const next = await client.number(`inl ${timer}`);
    const rate = (next - current) >>> 0;
    check(rate > 0.95 * CLOCK_HZ && rate < 1.6 * CLOCK_HZ, `counter ran ${rate} in a second`);
    rates.push(rate);
    if (next < current) wraps++;
    current = next;
  }
  check(!(await timeout()), 'interrupt with TimerInt 0');

  await client.command(`outl ${timerInt} 1`);
  await client.command(`outl ${timer} 0`);
  await client.command('clock_step 40');
  check(await timeout(), 'no interrupt at TimerInt 1');
  await client.command(`outw ${intrStatus} 0x4000`);
  check(!(await timeout()), 'interrupt not cleared by writing 1');

  current = await client.number(`inl ${timer}`);
  await client.command(`outl ${timerInt} ${(current + 0.5 * CLOCK_HZ) >>> 0}`);
  await client.command(`clock_step ${SECOND}`);
  check(await timeout(), 'no interrupt on the way');
  await client.command(`outw ${intrStatus} 0x4000`);
  let seconds = 0;
  while (!(await timeout())) {
    check(seconds++ < 135, 'no second interrupt after the wrap');
    await client.command(`clock_step ${SECOND}`);
  }
  check(seconds > 100, `second interrupt after ${seconds} s, before the wrap`);
  return { rates, wraps };
}
