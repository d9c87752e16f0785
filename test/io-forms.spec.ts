/** Every form in which an instruction reaches a device, run by the vCPU: which ioreqs it becomes, in order, and what the guest has afterwards. */
import { describe, expect, it } from 'vitest';
import { readElf } from '../src/hypervisor/domain-builder/elf.ts';
import { engineFactory } from '../src/machine/engine-factory.ts';
import { InlineMachine } from '../src/machine/machine.ts';
import { parseMac } from '../src/net/frame.ts';
import { longGuest, plainGuest, powerOff } from './plain-guest.ts';

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
const run = (source: string): Outcome => runGuest(plainGuest(`mov esp, 0x90000\n${source}\n${powerOff}`));
/** The same in long mode. */
const runLong = (source: string): Outcome => runGuest(longGuest(`${source}\n${powerOff}`));

function runGuest(guest: Uint8Array): Outcome {
  const log: string[] = [];
  const machine = new InlineMachine(
    {
      name: 'forms',
      clock: 'virtual',
      nics: [{ model: 'rtl8139', mac: parseMac('00:16:3e:00:00:01') }],
      engine: engineFactory(),
      domain: { memoryMiB: 8, vcpus: 1, type: 'hvm', kernel: { kind: 'elf', elf: readElf(guest) }, commandLine: '', hpet: true },
    },
    { log: (text) => log.push(text) },
  );
  machine.flush(); // what the firmware did
  log.length = 0;
  expect(machine.run(5e9)).toBe('shutdown');
  expect(machine.domain.shutdownReason).toBe(0);
  const requests = log
    .join('')
    .split('\n')
    .flatMap((line) => {
      const found =
        /handle_ioreq I\/O=\S+ type=(\d) dir=(\d) df=(\d) ptr=(\d) port=0x([0-9a-f]+) data=0x([0-9a-f]+) count=(\d+) size=(\d)/.exec(
          line,
        );
      if (!found) return [];
      const [, type, dir, df, ptr, port, data, count, size] = found;
      if (port === 'b004') return [];
      const name = type === '1' ? (dir === '1' ? 'r' : 'w') : dir === '1' ? 'in' : 'out';
      return [
        `${name} ${port} ${size}${count === '1' ? '' : ` x${count}`}${ptr === '1' ? ` @${data}` : dir === '0' ? ` = ${data}` : ''}${df === '1' ? ' down' : ''}`,
      ];
    });
  const at = (address: number): number => machine.memory.u32[machine.p2m.ramAddress(address as never) >>> 2]!;
  return { requests, words: [0, 1, 2, 3, 4].map((i) => at(0x80000 + i * 4)) };
}

/** `mov dword [MAR], value` first, so that reads have something to give. */
const seeded = (source: string): string => `mov dword [${MAR}], 0x84838281\nmov dword [${MAR + 4}], 0x88878685\n${source}`;
const seed = ['w f0000008 4 = 84838281', 'w f000000c 4 = 88878685'];
const plain = (source: string): string => source;
const store = 'mov [0x80000], eax\n';

describe('memory-mapped I/O by the vCPU', () => {
  it.each([
    [
      'mov, 1, 2 and 4 bytes',
      seeded(
        `mov eax, 0\nmov al, [${MAR}]\n${store}mov ax, [${MAR + 2}]\nmov [0x80004], eax\nmov eax, [${MAR + 4}]\nmov [0x80008], eax\n`,
      ),
      [...seed, 'r f0000008 1', 'r f000000a 2', 'r f000000c 4'],
      [0x81, 0x8483, 0x88878685],
    ],
    ['misaligned: one request as it is', seeded(`mov eax, [${MAR + 1}]\n`), [...seed, 'r f0000009 4'], []],
    [
      'movzx and movsx',
      seeded(
        `movzx eax, byte [${MAR}]\n${store}movsx eax, byte [${MAR}]\nmov [0x80004], eax\nmovsx eax, word [${MAR + 2}]\nmov [0x80008], eax\n`,
      ),
      [...seed, 'r f0000008 1', 'r f0000008 1', 'r f000000a 2'],
      [0x81, 0xffffff81, 0xffff8483],
    ],
    [
      'push and pop',
      seeded(`push dword [${MAR}]\npop dword [0x80000]\npush dword [0x80000]\npop dword [${TX_ADDR}]\n`),
      [...seed, 'r f0000008 4', 'w f0000020 4 = 84838281'],
      [0x84838281],
    ],
    [
      'xchg: a read and a write',
      seeded(`mov eax, 0x55\nxchg [${MAR}], eax\n${store}`),
      [...seed, 'r f0000008 4', 'w f0000008 4 = 55'],
      [0x84838281],
    ],
    [
      'cmpxchg that finds what it expects',
      seeded(`mov eax, 0x84838281\nmov ecx, 7\ncmpxchg [${MAR}], ecx\n${store}`),
      [...seed, 'r f0000008 4', 'w f0000008 4 = 7'],
      [0x84838281],
    ],
    [
      'and, or, xor',
      seeded(`and dword [${MAR}], 0x7f\nor dword [${MAR}], 2\nxor dword [${MAR}], 1\n`),
      [...seed, 'r f0000008 4', 'w f0000008 4 = 1', 'r f0000008 4', 'w f0000008 4 = 3', 'r f0000008 4', 'w f0000008 4 = 2'],
      [],
    ],
    [
      'bt reads, bts, btr and btc read and write',
      seeded(`bt dword [${MAR}], 1\nbts dword [${MAR}], 1\nbtr dword [${MAR}], 0\nbtc dword [${MAR}], 2\n`),
      [
        ...seed,
        'r f0000008 4',
        'r f0000008 4',
        'w f0000008 4 = 84838283',
        'r f0000008 4',
        'w f0000008 4 = 84838282',
        'r f0000008 4',
        'w f0000008 4 = 84838286',
      ],
      [],
    ],
    [
      'across the end of RAM into device memory: only its part is a request',
      `mov word [${VGA - 2}], 0x2211\nmov eax, [${VGA - 2}]\n${store}`,
      ['r a0000 2'],
      [0x00002211],
    ],
    ['across a page end of device memory: a request a page', `mov eax, [${VGA + 0xffe}]\n`, ['r a0ffe 2', 'r a1000 2'], []],
    ['where nobody is: all ones, writes dropped', `mov eax, [0xe0000000]\n${store}mov dword [0xe0000000], 5\n`, [], [0xffffffff]],
    [
      'rep stos: one request',
      `mov edi, ${TX_ADDR}\nmov eax, 9\nmov ecx, 4\ncld\nrep stosd\nmov [0x80000], ecx\nmov [0x80004], edi\n`,
      ['w f0000020 4 x4 = 9'],
      [0, TX_ADDR + 16],
    ],
    [
      'rep movs from device to RAM, and back: by pointer',
      seeded(
        `mov esi, ${MAR}\nmov edi, 0x80000\nmov ecx, 8\nrep movsb\nmov esi, 0x80000\nmov edi, ${TX_ADDR}\nmov ecx, 4\nrep movsb\n`,
      ),
      [...seed, 'r f0000008 1 x8 @80000', 'w f0000020 1 x4 @80000'],
      [0x84838281, 0x88878685],
    ],
    [
      'rep movs downwards',
      seeded(`std\nmov esi, ${MAR + 7}\nmov edi, 0x80007\nmov ecx, 8\nrep movsb\ncld\n`),
      [...seed, 'r f000000f 1 x8 @80007 down'],
      [0x84838281, 0x88878685],
    ],
    [
      'rep movs across a page end of RAM: a request a page',
      seeded(`mov esi, ${MAR}\nmov edi, 0x7fffe\nmov ecx, 4\nrep movsb\n`),
      [...seed, 'r f0000008 1 x2 @7fffe', 'r f000000a 1 x2 @80000'],
      [],
    ],
    [
      'movs from device to device: element by element',
      seeded(`mov esi, ${MAR}\nmov edi, ${TX_ADDR}\nmov ecx, 2\nrep movsb\n`),
      [...seed, 'r f0000008 1', 'w f0000020 1 = 81', 'r f0000009 1', 'w f0000021 1 = 82'],
      [],
    ],
    [
      'movs from RAM to device across a page end of RAM: a request a page',
      `mov esi, 0x7fffe\nmov edi, ${TX_ADDR}\nmov ecx, 4\ncld\nrep movsb\n`,
      ['w f0000020 1 x2 @7fffe', 'w f0000022 1 x2 @80000'],
      [],
    ],
    [
      'movs of an element that crosses a page of RAM: by itself',
      `mov dword [0x7fffe], 0x44332211\nmov esi, 0x7ffff\nmov edi, ${TX_ADDR}\nmov ecx, 2\ncld\nrep movsw\n`,
      ['w f0000020 2 = 3322', 'w f0000022 2 = 44'],
      [],
    ],
    [
      'movs without rep, 1, 2 and 4 bytes',
      seeded(`mov esi, ${MAR}\nmov edi, 0x80000\ncld\nmovsb\nmovsw\nmovsd\n`),
      [...seed, 'r f0000008 1', 'r f0000009 2', 'r f000000b 4'],
      [0x84838281, 0x878685],
    ],
    [
      'stos without rep, 1, 2 and 4 bytes',
      `mov edi, ${TX_ADDR}\nmov eax, 0x55667788\ncld\nstosb\nstosw\nstosd\n`,
      ['w f0000020 1 = 88', 'w f0000021 2 = 7788', 'w f0000023 4 = 55667788'],
      [],
    ],
    [
      'rep stos downwards',
      `mov edi, ${TX_ADDR + 12}\nmov eax, 9\nmov ecx, 4\nstd\nrep stosd\ncld\nmov [0x80000], edi\n`,
      ['w f000002c 4 x4 = 9 down'],
      [TX_ADDR - 4],
    ],
    [
      'lods, 1, 2 and 4 bytes',
      seeded(`mov esi, ${MAR}\ncld\nlodsb\nlodsw\nlodsd\n${store}mov [0x80004], esi\n`),
      [...seed, 'r f0000008 1', 'r f0000009 2', 'r f000000b 4'],
      [0x87868584, MAR + 7],
    ],
    [
      'rep lods: element by element',
      seeded(`mov esi, ${MAR}\ncld\nmov ecx, 3\nrep lodsb\n${store}mov [0x80004], ecx\n`),
      [...seed, 'r f0000008 1', 'r f0000009 1', 'r f000000a 1'],
      [0x83, 0],
    ],
    [
      'repne scas: up to the match',
      seeded(`mov edi, ${MAR}\ncld\nmov ecx, 8\nmov al, 0x83\nrepne scasb\nmov [0x80000], ecx\n`),
      [...seed, 'r f0000008 1', 'r f0000009 1', 'r f000000a 1'],
      [5],
    ],
    [
      'repe cmps: up to the difference',
      seeded(
        `mov dword [0x80010], 0x84838281\nmov esi, ${MAR}\nmov edi, 0x80010\ncld\nmov ecx, 8\nrepe cmpsb\nmov [0x80000], ecx\n`,
      ),
      [...seed, 'r f0000008 1', 'r f0000009 1', 'r f000000a 1', 'r f000000b 1', 'r f000000c 1'],
      [3],
    ],
    [
      'cmps of two devices: the second operand first, as the processor reads them',
      seeded(`mov esi, ${MAR}\nmov edi, ${TX_ADDR}\ncld\ncmpsd\n`),
      [...seed, 'r f0000020 4', 'r f0000008 4'],
      [],
    ],
    [
      'a misaligned write and one across a page end: powers of two, largest first, a page at a time',
      `mov eax, 0x44332211\nmov [${MAR + 1}], eax\nmov [${VGA + 0xffd}], eax\n`,
      ['w f0000009 4 = 44332211', 'w a0ffd 2 = 2211', 'w a0fff 1 = 33', 'w a1000 1 = 44'],
      [],
    ],
    [
      'read, modify, write misaligned',
      seeded(`add dword [${MAR + 1}], 1\n`),
      [...seed, 'r f0000009 4', 'w f0000009 4 = 85848383'],
      [],
    ],
    [
      'cmpxchg that finds something else: the processor writes it back',
      seeded(`mov eax, 1\nmov ecx, 7\ncmpxchg [${MAR}], ecx\n${store}`),
      [...seed, 'r f0000008 4', 'w f0000008 4 = 84838281'],
      [0x84838281],
    ],
    [
      'cmpxchg8b',
      seeded(
        `mov eax, 0x84838281\nmov edx, 0x88878685\nmov ebx, 1\nmov ecx, 2\ncmpxchg8b qword [${MAR}]\ncmpxchg8b qword [${MAR}]\n${store}mov [0x80004], edx\n`,
      ),
      [...seed, 'r f0000008 8', 'w f0000008 8 = 200000001', 'r f0000008 8', 'w f0000008 8 = 200000001'],
      [1, 2],
    ],
    [
      'inc, neg, not, test, cmp',
      `mov dword [${TX_ADDR}], 4\ntest dword [${TX_ADDR}], 1\ncmp dword [${TX_ADDR}], 1\ninc dword [${TX_ADDR}]\nneg dword [${TX_ADDR}]\nnot dword [${TX_ADDR}]\n`,
      [
        'w f0000020 4 = 4',
        'r f0000020 4',
        'r f0000020 4',
        'r f0000020 4',
        'w f0000020 4 = 5',
        'r f0000020 4',
        'w f0000020 4 = fffffffb',
        'r f0000020 4',
        'w f0000020 4 = 4',
      ],
      [],
    ],
  ] as [string, string, string[], number[]][])('%s', (_name, source, requests, words) => {
    const outcome = run(source);
    expect(outcome.requests).toEqual(requests);
    expect(outcome.words.slice(0, words.length)).toEqual(words);
  });

  it.each([
    ['movs from device to RAM', seeded, `mov esi, ${MAR}\nmov edi, 0x80ffc\nrep movsb\n`, [...seed, 'r f0000008 1 x4 @80ffc']],
    ['movs from RAM to device', plain, `mov esi, 0x80ff8\nmov edi, ${MAR}\nmov ecx, 4\nrep movsd\n`, ['w f0000008 4 x2 @80ff8']],
    [
      'movs downwards from RAM to device',
      plain,
      `mov esi, 0x82001\nmov edi, ${MAR + 7}\nstd\nrep movsb\n`,
      ['w f000000f 1 x2 @82001 down'],
    ],
    ['ins', plain, 'mov edx, 0xc008\nmov edi, 0x80ffc\nrep insb\n', ['in c008 1 x4 @80ffc']],
    ['outs', plain, 'mov edx, 0xc008\nmov esi, 0x80ffe\nrep outsb\n', ['out c008 1 x2 @80ffe']],
    [
      'ins of an element that begins before the page: the port is not touched',
      plain,
      'mov edx, 0xc008\nmov edi, 0x80ffe\nmov ecx, 2\nrep insd\n',
      [],
    ],
    ['outs of an element that begins before the page', plain, 'mov edx, 0xc008\nmov esi, 0x80ffd\nmov ecx, 3\nrep outsd\n', []],
  ] as [string, (source: string) => string, string, string[]][])(
    'a page fault on the RAM side in the middle of a rep, %s: what went before is done, the rest waits',
    (_name, before, source, done) => {
      // Identity map of 4 GiB in pages of 4 MiB, the first in pages of 4 KiB without the page at 0x81000; #PF tells ECX and CR2.
      const { requests } = run(
        before(`
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
      ${handler()}
      mov ecx, 8
      cld
      ${source}
    `),
      );
      const [, count] = /mov ecx, (\d)/.exec(source) ?? ['', '8'];
      const items = done
        .filter((line) => !seed.includes(line))
        .map((line) => Number(/ x(\d) /.exec(line)![1]))
        .reduce((sum, n) => sum + n, 0);
      const down = source.includes('std');
      expect(requests).toEqual([
        ...done,
        `w f0000020 4 = ${Number(count) - items}`,
        `w f0000024 4 = ${down ? '81fff' : '81000'}`,
      ]);
    },
  );
});

/** Stores the #PF handler at 0x308000, byte by byte: ECX to TxAddr0, CR2 to TxAddr1, power off. */
function handler(): string {
  const code = [
    0x89, 0x0d, 0x20, 0, 0, 0xf0, 0x0f, 0x20, 0xd0, 0xa3, 0x24, 0, 0, 0xf0, 0xba, 0x04, 0xb0, 0, 0, 0xb8, 0, 0x20, 0, 0, 0x66,
    0xef, 0xf4,
  ];
  return code.map((byte, i) => `mov byte [${0x308000 + i}], ${byte}`).join('\n');
}

/** RBX: the seeded registers. */
const seeded64 = (source: string): string =>
  `mov ebx, ${MAR}\nmov dword [rbx], 0x84838281\nmov dword [rbx + 4], 0x88878685\n${source}`;
const fninit = 'db 0xdb, 0xe3\n';

describe('memory-mapped I/O of 8 bytes and more', () => {
  it.each([
    [
      'mov',
      seeded64('mov rax, [rbx]\nmov [0x80000], rax\nmov [rbx], rax\n'),
      [...seed, 'r f0000008 8', 'w f0000008 8 = 8887868584838281'],
      [0x84838281, 0x88878685],
    ],
    [
      'mov across a page end',
      `mov ebx, ${VGA + 0xffc}\nmov rax, 0x8877665544332211\nmov [rbx], rax\nmov rcx, [rbx]\n`,
      ['w a0ffc 4 = 44332211', 'w a1000 4 = 88776655', 'r a0ffc 4', 'r a1000 4'],
      [],
    ],
    [
      'mov across a page end, 3 and 5 bytes',
      `mov ebx, ${VGA + 0xffd}\nmov rax, 0x8877665544332211\nmov [rbx], rax\n`,
      ['w a0ffd 2 = 2211', 'w a0fff 1 = 33', 'w a1000 4 = 77665544', 'w a1004 1 = 88'],
      [],
    ],
    [
      'xchg',
      seeded64('mov rax, 0x1122334455667788\nxchg [rbx], rax\nmov [0x80000], rax\n'),
      [...seed, 'r f0000008 8', 'w f0000008 8 = 1122334455667788'],
      [0x84838281, 0x88878685],
    ],
    ['movnti', seeded64('mov ecx, 5\nmovnti [rbx], ecx\n'), [...seed, 'w f0000008 4 = 5'], []],
    [
      'rep movsq, one and several',
      seeded64(`mov esi, ${MAR}\nmov edi, 0x80000\nmov ecx, 1\ncld\nrep movsq\nmov esi, ${VGA}\nmov ecx, 4\nrep movsq\n`),
      [...seed, 'r f0000008 8', 'r a0000 8 x4 @80008'],
      [0x84838281, 0x88878685],
    ],
    [
      'rep stosq',
      `mov edi, ${VGA}\nmov ecx, 4\nmov rax, 0x1122334455667788\ncld\nrep stosq\n`,
      ['w a0000 8 x4 = 1122334455667788'],
      [],
    ],
    [
      'cmpxchg16b: two halves read, two written',
      seeded64(`mov eax, ${TX_ADDR}\nmov rsi, rax\nmov eax, 0\nmov edx, 0\nmov ecx, 2\ncmpxchg16b oword [rsi]\n`),
      [...seed, 'r f0000020 8', 'r f0000028 8', `w f0000020 8 = ${MAR.toString(16)}`, 'w f0000028 8 = 2'],
      [],
    ],
    [
      'movq and movss',
      seeded64('movq xmm0, [rbx]\nmovq [0x80000], xmm0\nmovq [rbx], xmm0\nmovss xmm1, [rbx]\nmovss [rbx + 4], xmm1\n'),
      [...seed, 'r f0000008 8', 'w f0000008 8 = 8887868584838281', 'r f0000008 4', 'w f000000c 4 = 84838281'],
      [0x84838281, 0x88878685],
    ],
    [
      'movdqa and movups: 16 bytes as two halves',
      seeded64('movdqa xmm0, [rbx + 24]\nmovdqa [rbx + 24], xmm0\nmovups xmm1, [rbx + 4]\nmovups [rbx + 28], xmm1\n'),
      [
        ...seed,
        'r f0000020 8',
        'r f0000028 8',
        'w f0000020 8 = 0',
        'w f0000028 8 = 0',
        'r f000000c 8',
        'r f0000014 8',
        'w f0000024 8 = 200088878685',
        'w f000002c 8 = 200000002000',
      ],
      [],
    ],
    [
      'movups across a page end',
      `mov ebx, ${VGA + 0xff4}\nmovups xmm0, [rbx]\nmovups [rbx], xmm0\n`,
      ['r a0ff4 8', 'r a0ffc 4', 'r a1000 4', 'w a0ff4 8 = 0', 'w a0ffc 4 = 0', 'w a1000 4 = 0'],
      [],
    ],
    [
      'movups from RAM into device memory',
      `mov ebx, ${VGA - 8}\nmovups xmm0, [rbx]\nmovups [rbx], xmm0\n`,
      ['r a0000 8', 'w a0000 8 = 0'],
      [],
    ],
    [
      'x87 loads and stores of 4, 8 and 10 bytes',
      seeded64(
        `${fninit}fld dword [rbx]\nfstp dword [rbx]\nfld qword [rbx]\nfstp qword [rbx]\ndb 0xdb, 0x2b\ndb 0xdb, 0x7b, 0x18\n`,
      ),
      [
        ...seed,
        'r f0000008 4',
        'w f0000008 4 = 84838281',
        'r f0000008 8',
        'w f0000008 8 = 8887868584838281',
        'r f0000008 8',
        'r f0000010 2',
        'w f0000020 8 = 8887868584838281',
        'w f0000028 2 = 2000',
      ],
      [],
    ],
    [
      'x87 integers',
      seeded64(`${fninit}fild word [rbx]\nfistp word [rbx]\nfild qword [rbx]\nfistp qword [rbx]\n`),
      [...seed, 'r f0000008 2', 'w f0000008 2 = 8281', 'r f0000008 8', 'w f0000008 8 = 8887868584838281'],
      [],
    ],
  ] as [string, string, string[], number[]][])('%s', (_name, source, requests, words) => {
    const outcome = runLong(source);
    expect(outcome.requests).toEqual(requests);
    expect(outcome.words.slice(0, words.length)).toEqual(words);
  });
});

describe('port I/O by the vCPU', () => {
  const port = 0xc020; // TxAddr0 in the NIC's I/O BAR
  it.each([
    [
      'in and out, 1, 2 and 4 bytes',
      `mov edx, ${port}\nmov eax, 0x44332211\nout dx, eax\nmov eax, 0\nin eax, dx\n${store}mov edx, 0xc008\nmov al, 5\nout dx, al\nin al, dx\nmov edx, 0xc03c\nmov ax, 0\nout dx, ax\nin ax, dx\n`,
      ['out c020 4 = 44332211', 'in c020 4', 'out c008 1 = 5', 'in c008 1', 'out c03c 2 = 0', 'in c03c 2'],
      [0x44332211],
    ],
    [
      'ins, 1, 2 and 4 bytes',
      `mov edx, ${port}\nmov eax, 0x44332211\nout dx, eax\nmov edi, 0x80000\ncld\ninsb\ninsw\ninsd\nmov [0x80008], edi\n`,
      ['out c020 4 = 44332211', 'in c020 1', 'in c020 2', 'in c020 4'],
      [0x11221100, 0x443322, 0x80007],
    ], // a byte of TxAddr0 reads as zero
    [
      'outs, 1, 2 and 4 bytes',
      `mov dword [0x80000], 0x44332211\nmov edx, ${port}\nmov esi, 0x80000\ncld\noutsb\noutsw\noutsd\nmov [0x80004], esi\n`,
      ['out c020 1 = 11', 'out c020 2 = 3322', 'out c020 4 = 44'],
      [0x44332211, 0x80007],
    ],
    [
      'rep ins: by pointer, a request a page',
      `mov edx, ${port}\nmov eax, 0x44332211\nout dx, eax\nmov edi, 0x7fffc\nmov ecx, 4\ncld\nrep insw\nmov [0x80008], edi\nmov [0x8000c], ecx\n`,
      ['out c020 4 = 44332211', 'in c020 2 x2 @7fffc', 'in c020 2 x2 @80000'],
      [0x22112211, 0, 0x80004, 0],
    ],
    [
      'rep ins whose element crosses a page: that one by itself',
      `mov edx, ${port}\nmov eax, 0x44332211\nout dx, eax\nmov edi, 0x7fffa\nmov ecx, 3\ncld\nrep insd\nmov [0x80008], ecx\n`,
      ['out c020 4 = 44332211', 'in c020 4 @7fffa', 'in c020 4', 'in c020 4'],
      [0x22114433, 0x4433, 0],
    ],
    [
      'rep ins downwards',
      `mov edx, ${port}\nmov eax, 0x44332211\nout dx, eax\nmov edi, 0x80004\nmov ecx, 4\nstd\nrep insd\ncld\nmov [0x80008], edi\n`,
      ['out c020 4 = 44332211', 'in c020 4 x2 @80004 down', 'in c020 4 x2 @7fffc down'],
      [0x44332211, 0x44332211, 0x7fff4],
    ],
    [
      'rep outs, up and down',
      `mov dword [0x80000], 0x44332211\nmov edx, ${port}\nmov esi, 0x80000\nmov ecx, 4\ncld\nrep outsb\nmov esi, 0x80002\nmov ecx, 4\nstd\nrep outsw\ncld\nmov [0x80004], esi\n`,
      ['out c020 1 x4 @80000', 'out c020 2 x2 @80002 down', 'out c020 2 x2 @7fffe down'],
      [0x44332211, 0x7fffa],
    ],
    [
      'rep of one is none',
      `mov edx, ${port}\nmov edi, 0x80000\nmov ecx, 1\ncld\nrep insb\nmov esi, 0x80000\nmov ecx, 1\nrep outsb\nmov ecx, 0\nrep outsb\n`,
      ['in c020 1', 'out c020 1 = 0'],
      [],
    ],
    [
      'ins to a device and outs from one: element by element',
      seeded(`mov edx, ${port}\nmov esi, ${MAR}\nmov ecx, 2\ncld\nrep outsd\nmov edi, ${MAR}\nmov ecx, 2\nrep insd\n`),
      [
        ...seed,
        'r f0000008 4',
        'out c020 4 = 84838281',
        'r f000000c 4',
        'out c020 4 = 88878685',
        'in c020 4',
        'w f0000008 4 = 88878685',
        'in c020 4',
        'w f000000c 4 = 88878685',
      ],
      [],
    ],
    [
      'ins to where nobody is',
      `mov edx, ${port}\nmov edi, 0xe0000000\nmov ecx, 2\ncld\nrep insd\nmov [0x80000], ecx\nmov [0x80004], edi\n`,
      ['in c020 4', 'in c020 4'],
      [0, 0xe0000008],
    ],
    ['a port of nobody: all ones', `mov edx, 0x5000\nin eax, dx\n${store}`, [], [0xffffffff]],
  ] as [string, string, string[], number[]][])('%s', (_name, source, requests, words) => {
    const outcome = run(source);
    expect(outcome.requests).toEqual(requests);
    expect(outcome.words.slice(0, words.length)).toEqual(words);
  });
});
