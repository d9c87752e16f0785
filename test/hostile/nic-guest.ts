/** Guests in flat 32-bit mode that drive the RTL8139 with addresses of every kind, then a good frame, and say that they live. */
import { plainGuest, powerOff, print } from '../plain-guest.ts';
import { BAR, busMaster } from './machine.ts';

/** A ring, two buffers and a frame of the guest's own, in its RAM. */
export const RING = 0x200000;
export const FRAME = 0x201000;
const RX_BUFFER = 0x202000;
export const RX_RING = 0x203000;

export const OWN_FIRST_LAST = 0xf0000000; // OWN, end of ring, first, last
export const RX_OWN = 0xc0000600; // OWN, end of ring, 1,536 bytes

/** The chip from reset: C+ transmitter and receiver on, in loopback unless told otherwise, everything accepted. */
export const startCplus = (loopback = true): string => `
  mov byte [${BAR + 0x37}], 0x10
  mov word [${BAR + 0xe0}], 3
  mov byte [${BAR + 0x37}], 0xc
  mov dword [${BAR + 0x40}], ${loopback ? 0x3060700 : 0x3000700}
  mov dword [${BAR + 0x44}], 0xe70f
`;
const startC = `
  mov byte [${BAR + 0x37}], 0x10
  mov byte [${BAR + 0x37}], 0xc
  mov dword [${BAR + 0x40}], 0x3060700
  mov dword [${BAR + 0x44}], 0x70f
`;
export const rings = (tx: readonly [number, number], rx: readonly [number, number]): string => `
  mov dword [${BAR + 0x24}], ${tx[1]}
  mov dword [${BAR + 0x20}], ${tx[0]}
  mov dword [${BAR + 0xe8}], ${rx[1]}
  mov dword [${BAR + 0xe4}], ${rx[0]}
`;
export const own = (address: number): readonly [number, number] => [address, 0];
const descriptorAt = (at: string, command: number, low: number, high = 0): string => `
  mov dword [${at}], ${command}
  mov dword [${at} + 4], 0
  mov dword [${at} + 8], ${low}
  mov dword [${at} + 12], ${high}
`;
export const descriptor = (at: number, command: number, buffer: readonly [number, number]): string =>
  descriptorAt(String(at), command, ...buffer);
/** So many descriptors from RING on, all alike. */
export const fullRing = (count: number, command: number, buffer: number): string => `
  mov edi, ${RING}
  mov ecx, ${count}
fill:
  ${descriptorAt('edi', command, buffer)}
  add edi, 16
  dec ecx
  jne fill
`;
/** A piece of program so many times; once a guest. */
export const repeated = (times: number, source: string): string => `
  mov ebx, ${times}
repeat:
  ${source}
  dec ebx
  jne repeat
`;
export const doorbell = `mov byte [${BAR + 0xd9}], 0x40\n`;
/** A broadcast frame of 64 bytes: 0x11 after the addresses. */
const frame = `
  mov edi, ${FRAME}
  mov eax, 0x11111111
  mov ecx, 512
  cld
  rep stosd
  mov dword [${FRAME}], 0xffffffff
  mov dword [${FRAME + 4}], 0x0002ffff
`;

/** Every role an address has in the chip, with this address in it. `data`: the frame the chip then has to send, from memory or made of holes. */
export function everyRole(bad: readonly [number, number]): string {
  return `
    ${startCplus()}
    ${rings(bad, own(RX_RING))}
    ${descriptor(RX_RING, RX_OWN, own(RX_BUFFER))}
    ${doorbell}
    ${startCplus()}
    ${rings(own(RING), own(RX_RING))}
    ${descriptor(RING, OWN_FIRST_LAST + 200, bad)}
    ${doorbell}
    ${startCplus()}
    ${rings(own(RING), bad)}
    ${descriptor(RING, OWN_FIRST_LAST + 64, own(FRAME))}
    ${doorbell}
    ${startCplus()}
    ${rings(own(RING), own(RX_RING))}
    ${descriptor(RX_RING, RX_OWN, bad)}
    ${descriptor(RING, OWN_FIRST_LAST + 64, own(FRAME))}
    ${doorbell}
    mov dword [${BAR + 0x14}], ${bad[1]}
    mov dword [${BAR + 0x10}], ${((bad[0] & 0xffffffc0) | 8) >>> 0}
    ${startC}
    mov dword [${BAR + 0x20}], ${bad[0]}
    mov dword [${BAR + 0x30}], ${RX_BUFFER}
    mov dword [${BAR + 0x10}], 64
    ${startC}
    mov dword [${BAR + 0x20}], ${FRAME}
    mov dword [${BAR + 0x30}], ${bad[0]}
    mov dword [${BAR + 0x10}], 64
  `;
}

/** Afterwards the chip still sends a good frame: its descriptor comes back, and it says so. */
const stillWorks = `
  ${startCplus(false)}
  ${rings(own(RING), own(RX_RING))}
  ${descriptor(RING, OWN_FIRST_LAST + 64, own(FRAME))}
  ${doorbell}
  mov eax, [${RING}]
  test eax, eax
  js lost
  ${print('alive\n')}
lost:
`;
export const attack = (source: string): Uint8Array =>
  plainGuest(`mov esp, 0x90000\n${busMaster}\n${frame}\n${source}\n${stillWorks}\n${powerOff}`);

/** memory_op of the flat 32-bit guest: EBX operation, ECX structure. */
const hypercall = (number: number, ebx: number, ecx: number): string => `
  mov eax, ${number}
  mov ebx, ${ebx}
  mov ecx, ${ecx}
  vmcall
`;
export const decrease = (gfn: number): string => `
  mov dword [0x80000], 0x80100
  mov dword [0x80004], 1
  mov dword [0x80008], 0
  mov dword [0x8000c], 0
  mov dword [0x80010], 0x7ff0
  mov dword [0x80100], ${gfn}
  ${hypercall(12, 1, 0x80000)}
`;
export const addToPhysmap = (space: number, index: number, gfn: number): string => `
  mov dword [0x80000], 0x7ff0
  mov dword [0x80004], ${space}
  mov dword [0x80008], ${index}
  mov dword [0x8000c], ${gfn}
  ${hypercall(12, 7, 0x80000)}
`;
