/** Every form in which an instruction reaches a device, run by the vCPU: which ioreqs it becomes, in order, and what the guest has afterwards. */
import { describe, expect, it } from 'vitest';
import { readElf } from '../src/hypervisor/domain-builder/elf.ts';
import { engineFactory } from '../src/machine/engine-factory.ts';
import { InlineMachine } from '../src/machine/machine.ts';
import { parseMac } from '../src/net/frame.ts';
import { plainGuest, powerOff } from './plain-guest.ts';

/** NIC registers without effects: MAR0…7 (8 bytes), TxAddr0…3 (four of 4). */
const MAR = 0xf0000008;
const TX_ADDR = 0xf0000020;
const VGA = 0xa0000;

interface Outcome {
  /** One line a request: "w f0000008 4 = 11", "r a0000 2", "r f0000020 4 x3 @200000 down". Ports as "in c020 4", "out c020 4 = 1". */
  requests: string[];
  /** 32-bit words of guest memory from 0x80000 on. */
  words: number[];
}

/** Run a few instructions in flat 32-bit mode; what they write at 0x80000 is the result. */
function run(source: string): Outcome {
  const log: string[] = [];
  const machine = new InlineMachine({
    name: 'forms', clock: 'virtual', nics: [{ model: 'rtl8139', mac: parseMac('00:16:3e:00:00:01') }], engine: engineFactory(),
    domain: { memoryMiB: 8, vcpus: 1, type: 'hvm', kernel: { kind: 'elf', elf: readElf(plainGuest(`mov esp, 0x90000\n${source}\n${powerOff}`)) }, commandLine: '', hpet: true },
  }, { log: (text) => log.push(text) });
  machine.flush(); // what the firmware did
  log.length = 0;
  expect(machine.run(5e9)).toBe('shutdown');
  expect(machine.domain.shutdownReason).toBe(0);
  const requests = log.join('').split('\n').flatMap((line) => {
    const found = /handle_ioreq I\/O=\S+ type=(\d) dir=(\d) df=(\d) ptr=(\d) port=0x([0-9a-f]+) data=0x([0-9a-f]+) count=(\d+) size=(\d)/.exec(line);
    if (!found) return [];
    const [, type, dir, df, ptr, port, data, count, size] = found;
    if (port === 'b004') return [];
    const name = type === '1' ? (dir === '1' ? 'r' : 'w') : dir === '1' ? 'in' : 'out';
    return [`${name} ${port} ${size}${count === '1' ? '' : ` x${count}`}${ptr === '1' ? ` @${data}` : dir === '0' ? ` = ${data}` : ''}${df === '1' ? ' down' : ''}`];
  });
  const at = (address: number): number => machine.memory.u32[machine.p2m.ramAddress(address as never) >>> 2]!;
  return { requests, words: [0, 1, 2, 3, 4].map((i) => at(0x80000 + i * 4)) };
}

/** `mov dword [MAR], value` first, so that reads have something to give. */
const seeded = (source: string): string => `mov dword [${MAR}], 0x84838281\nmov dword [${MAR + 4}], 0x88878685\n${source}`;
const seed = ['w f0000008 4 = 84838281', 'w f000000c 4 = 88878685'];
const store = 'mov [0x80000], eax\n';

describe('memory-mapped I/O by the vCPU', () => {
  it.each([
    ['mov, 1, 2 and 4 bytes', seeded(`mov eax, 0\nmov al, [${MAR}]\n${store}mov ax, [${MAR + 2}]\nmov [0x80004], eax\nmov eax, [${MAR + 4}]\nmov [0x80008], eax\n`),
      [...seed, 'r f0000008 1', 'r f000000a 2', 'r f000000c 4'], [0x81, 0x8483, 0x88878685]],
    ['misaligned: one request as it is', seeded(`mov eax, [${MAR + 1}]\n`), [...seed, 'r f0000009 4'], []],
    ['movzx and movsx', seeded(`movzx eax, byte [${MAR}]\n${store}movsx eax, byte [${MAR}]\nmov [0x80004], eax\nmovsx eax, word [${MAR + 2}]\nmov [0x80008], eax\n`),
      [...seed, 'r f0000008 1', 'r f0000008 1', 'r f000000a 2'], [0x81, 0xffffff81, 0xffff8483]],
    ['push and pop', seeded(`push dword [${MAR}]\npop dword [0x80000]\npush dword [0x80000]\npop dword [${TX_ADDR}]\n`),
      [...seed, 'r f0000008 4', 'w f0000020 4 = 84838281'], [0x84838281]],
    ['xchg: a read and a write', seeded(`mov eax, 0x55\nxchg [${MAR}], eax\n${store}`), [...seed, 'r f0000008 4', 'w f0000008 4 = 55'], [0x84838281]],
    ['cmpxchg that finds what it expects', seeded(`mov eax, 0x84838281\nmov ecx, 7\ncmpxchg [${MAR}], ecx\n${store}`), [...seed, 'r f0000008 4', 'w f0000008 4 = 7'], [0x84838281]],
    ['and, or, xor', seeded(`and dword [${MAR}], 0x7f\nor dword [${MAR}], 2\nxor dword [${MAR}], 1\n`),
      [...seed, 'r f0000008 4', 'w f0000008 4 = 1', 'r f0000008 4', 'w f0000008 4 = 3', 'r f0000008 4', 'w f0000008 4 = 2'], []],
    ['bt reads, bts, btr and btc read and write', seeded(`bt dword [${MAR}], 1\nbts dword [${MAR}], 1\nbtr dword [${MAR}], 0\nbtc dword [${MAR}], 2\n`),
      [...seed, 'r f0000008 4', 'r f0000008 4', 'w f0000008 4 = 84838283', 'r f0000008 4', 'w f0000008 4 = 84838282', 'r f0000008 4', 'w f0000008 4 = 84838286'], []],
    ['across the end of RAM into device memory: only its part is a request', `mov word [${VGA - 2}], 0x2211\nmov eax, [${VGA - 2}]\n${store}`, ['r a0000 2'], [0x00002211]],
    ['across a page end of device memory: a request a page', `mov eax, [${VGA + 0xffe}]\n`, ['r a0ffe 2', 'r a1000 2'], []],
    ['where nobody is: all ones, writes dropped', `mov eax, [0xe0000000]\n${store}mov dword [0xe0000000], 5\n`, [], [0xffffffff]],
    ['rep stos: one request', `mov edi, ${TX_ADDR}\nmov eax, 9\nmov ecx, 4\ncld\nrep stosd\nmov [0x80000], ecx\nmov [0x80004], edi\n`, ['w f0000020 4 x4 = 9'], [0, TX_ADDR + 16]],
    ['rep movs from device to RAM, and back: by pointer', seeded(`mov esi, ${MAR}\nmov edi, 0x80000\nmov ecx, 8\nrep movsb\nmov esi, 0x80000\nmov edi, ${TX_ADDR}\nmov ecx, 4\nrep movsb\n`),
      [...seed, 'r f0000008 1 x8 @80000', 'w f0000020 1 x4 @80000'], [0x84838281, 0x88878685]],
    ['rep movs downwards', seeded(`std\nmov esi, ${MAR + 7}\nmov edi, 0x80007\nmov ecx, 8\nrep movsb\ncld\n`), [...seed, 'r f000000f 1 x8 @80007 down'], [0x84838281, 0x88878685]],
    ['rep movs across a page end of RAM: a request a page', seeded(`mov esi, ${MAR}\nmov edi, 0x7fffe\nmov ecx, 4\nrep movsb\n`), [...seed, 'r f0000008 1 x2 @7fffe', 'r f000000a 1 x2 @80000'], []],
    ['movs from device to device: element by element', seeded(`mov esi, ${MAR}\nmov edi, ${TX_ADDR}\nmov ecx, 2\nrep movsb\n`),
      [...seed, 'r f0000008 1', 'w f0000020 1 = 81', 'r f0000009 1', 'w f0000021 1 = 82'], []],
  ] as [string, string, string[], number[]][])('%s', (_name, source, requests, words) => {
    const outcome = run(source);
    expect(outcome.requests).toEqual(requests);
    expect(outcome.words.slice(0, words.length)).toEqual(words);
  });

  it('a page fault on the RAM side in the middle of a rep: what went before is done, the rest waits', () => {
    // Identity map of 4 GiB in pages of 4 MiB, the first in pages of 4 KiB without the page at 0x81000; #PF tells ECX and CR2.
    const { requests } = run(seeded(`
      mov edi, 0x200000
      mov eax, 0x83
    pd:
      mov [edi], eax
      add eax, 0x400000
      add edi, 4
      cmp edi, 0x201000
      jne pd
      mov eax, 3
    pt:
      mov [edi], eax
      add eax, 0x1000
      add edi, 4
      cmp edi, 0x202000
      jne pt
      mov dword [0x200000], 0x201003
      mov dword [0x201204], 0
      mov dword [0x300008], 0x0000ffff
      mov dword [0x30000c], 0x00cf9a00
      mov word [0x300100], 0xf
      mov dword [0x300102], 0x300000
      lgdt [0x300100]
      mov dword [0x300470], 0x00088000
      mov dword [0x300474], 0x00308e00
      mov word [0x300200], 0x7ff
      mov dword [0x300202], 0x300400
      lidt [0x300200]
      mov eax, cr4
      or eax, 0x10
      mov cr4, eax
      mov eax, 0x200000
      mov cr3, eax
      mov eax, cr0
      or eax, 0x80000000
      mov cr0, eax
      mov esi, ${MAR}
      mov edi, 0x80ffc
      mov ecx, 8
      cld
      ${handler()}
      rep movsb
    `));
    expect(requests).toEqual([...seed, 'r f0000008 1 x4 @80ffc', 'w f0000020 4 = 4', 'w f0000024 4 = 81000']);
  });
});

/** Stores the #PF handler at 0x308000, byte by byte: ECX to TxAddr0, CR2 to TxAddr1, power off. */
function handler(): string {
  const code = [0x89, 0x0d, 0x20, 0, 0, 0xf0, 0x0f, 0x20, 0xd0, 0xa3, 0x24, 0, 0, 0xf0, 0xba, 0x04, 0xb0, 0, 0, 0xb8, 0, 0x20, 0, 0, 0x66, 0xef, 0xf4];
  return code.map((byte, i) => `mov byte [${0x308000 + i}], ${byte}`).join('\n');
}

describe('port I/O by the vCPU', () => {
  const port = 0xc020; // TxAddr0 in the NIC's I/O BAR
  it.each([
    ['in and out, 1, 2 and 4 bytes', `mov edx, ${port}\nmov eax, 0x44332211\nout dx, eax\nmov eax, 0\nin eax, dx\n${store}mov edx, 0xc008\nmov al, 5\nout dx, al\nin al, dx\nmov edx, 0xc03c\nmov ax, 0\nout dx, ax\nin ax, dx\n`,
      ['out c020 4 = 44332211', 'in c020 4', 'out c008 1 = 5', 'in c008 1', 'out c03c 2 = 0', 'in c03c 2'], [0x44332211]],
    ['a port of nobody: all ones', `mov edx, 0x5000\nin eax, dx\n${store}`, [], [0xffffffff]],
  ] as [string, string, string[], number[]][])('%s', (_name, source, requests, words) => {
    const outcome = run(source);
    expect(outcome.requests).toEqual(requests);
    expect(outcome.words.slice(0, words.length)).toEqual(words);
  });
});
