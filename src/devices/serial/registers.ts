/** Registers of the 16550A UART. Source: National Semiconductor PC16550D data sheet, section 8. */
import type { RegisterDef } from '../registers.ts';

export const Lsr = { dataReady: 0x01, overrun: 0x02, thrEmpty: 0x20, transmitterEmpty: 0x40 } as const;
export const Ier = { received: 0x01, thrEmpty: 0x02, lineStatus: 0x04, modemStatus: 0x08 } as const;
export const Iir = {
  none: 0x01,
  modemStatus: 0x00,
  thrEmpty: 0x02,
  received: 0x04,
  lineStatus: 0x06,
  timeout: 0x0c,
  id: 0x0f,
  fifos: 0xc0,
} as const;
export const Fcr = { enable: 0x01, clearReceive: 0x02, clearTransmit: 0x04 } as const;
export const Lcr = { dlab: 0x80 } as const;
export const Mcr = { dtr: 0x01, rts: 0x02, out1: 0x04, out2: 0x08, loop: 0x10 } as const;
export const Msr = { deltas: 0x0f, cts: 0x10, dsr: 0x20, ri: 0x40, dcd: 0x80 } as const;

export const uartRegisters = [
  {
    name: 'RBR',
    offset: 0,
    width: 1,
    access: 'rw',
    mode: 'DLAB=0',
    doc: 'Receiver buffer',
    written: { name: 'THR', doc: 'Transmitter holding register' },
    otherwise: { mode: 'DLAB=1', name: 'DLL', doc: 'Divisor latch, low byte' },
  },
  {
    name: 'IER',
    offset: 1,
    width: 1,
    access: 'rw',
    reset: 0,
    writable: 0x0f,
    mode: 'DLAB=0',
    doc: 'Interrupt enable',
    fields: [
      { name: 'ERBFI', lsb: 0 },
      { name: 'ETBEI', lsb: 1 },
      { name: 'ELSI', lsb: 2 },
      { name: 'EDSSI', lsb: 3 },
    ],
    otherwise: { mode: 'DLAB=1', name: 'DLM', doc: 'Divisor latch, high byte' },
  },
  {
    name: 'IIR',
    offset: 2,
    width: 1,
    access: 'rw',
    reset: Iir.none,
    doc: 'Interrupt identification',
    fields: [
      { name: 'NoInterrupt', lsb: 0 },
      { name: 'ID', lsb: 1, bits: 3, values: { 0: 'ModemStatus', 1: 'ThrEmpty', 2: 'Received', 3: 'LineStatus', 6: 'Timeout' } },
      { name: 'FIFOs', lsb: 6, bits: 2 },
    ],
    written: {
      name: 'FCR',
      doc: 'FIFO control',
      fields: [
        { name: 'Enable', lsb: 0 },
        { name: 'ClearReceive', lsb: 1 },
        { name: 'ClearTransmit', lsb: 2 },
        { name: 'DMA', lsb: 3 },
        { name: 'Trigger', lsb: 6, bits: 2 },
      ],
    },
  },
  {
    name: 'LCR',
    offset: 3,
    width: 1,
    access: 'rw',
    reset: 0,
    doc: 'Line control',
    fields: [
      { name: 'WLS', lsb: 0, bits: 2 },
      { name: 'STB', lsb: 2 },
      { name: 'PEN', lsb: 3 },
      { name: 'EPS', lsb: 4 },
      { name: 'Stick', lsb: 5 },
      { name: 'Break', lsb: 6 },
      { name: 'DLAB', lsb: 7 },
    ],
  },
  {
    name: 'MCR',
    offset: 4,
    width: 1,
    access: 'rw',
    reset: 0,
    writable: 0x1f,
    doc: 'Modem control',
    fields: [
      { name: 'DTR', lsb: 0 },
      { name: 'RTS', lsb: 1 },
      { name: 'OUT1', lsb: 2 },
      { name: 'OUT2', lsb: 3 },
      { name: 'Loop', lsb: 4 },
    ],
  },
  {
    name: 'LSR',
    offset: 5,
    width: 1,
    access: 'ro',
    reset: Lsr.thrEmpty | Lsr.transmitterEmpty,
    doc: 'Line status',
    fields: [
      { name: 'DR', lsb: 0 },
      { name: 'OE', lsb: 1 },
      { name: 'PE', lsb: 2 },
      { name: 'FE', lsb: 3 },
      { name: 'BI', lsb: 4 },
      { name: 'THRE', lsb: 5 },
      { name: 'TEMT', lsb: 6 },
      { name: 'FIFOError', lsb: 7 },
    ],
  },
  {
    name: 'MSR',
    offset: 6,
    width: 1,
    access: 'ro',
    reset: Msr.dcd | Msr.dsr | Msr.cts,
    doc: 'Modem status',
    fields: [
      { name: 'DCTS', lsb: 0 },
      { name: 'DDSR', lsb: 1 },
      { name: 'TERI', lsb: 2 },
      { name: 'DDCD', lsb: 3 },
      { name: 'CTS', lsb: 4 },
      { name: 'DSR', lsb: 5 },
      { name: 'RI', lsb: 6 },
      { name: 'DCD', lsb: 7 },
    ],
  },
  { name: 'SCR', offset: 7, width: 1, access: 'rw', reset: 0, doc: 'Scratch' },
] as const satisfies readonly RegisterDef[];
