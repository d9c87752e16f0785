// A device of one's own: the guest reads a number from it and gives back twice as much.
import { codeKernel, Machine } from 'xenolith';

const doubler = {
  name: 'doubler',
  ports: { base: 0x5000, size: 8 },
  answer: undefined,
  read: (offset) => (offset === 0 ? 21 : 0),
  write(offset, _size, value) {
    if (offset === 4) this.answer = value;
  },
};
// prettier-ignore
const code = Uint8Array.of(
  0x66,
  0xba,
  0x00,
  0x50, // mov dx, 0x5000
  0xed, //                   in eax, dx
  0x01,
  0xc0, //             add eax, eax
  0x66,
  0xba,
  0x04,
  0x50, // mov dx, 0x5004
  0xef, //                   out dx, eax
  0x66,
  0xba,
  0x04,
  0xb0, // mov dx, 0xb004: power management
  0x66,
  0xb8,
  0x00,
  0x20, // mov ax, 0x2000: off
  0x66,
  0xef, //             out dx, ax
  0xf4, //                   hlt
);

const machine = new Machine({ kernel: codeKernel(code), memory: 8, nics: [], devices: [doubler] });
machine.on('ioreq', ({ address, write, data }) => console.log(`${write ? 'write' : 'read'} 0x${address.toString(16)}: ${data}`));
await machine.run();
await machine.ended;
console.log(`the guest answered ${doubler.answer}`);
