// A driver under test: does it set the chip up as the data sheet wants, and does it survive a cable that is pulled?
import { Machine, tinyGuest } from 'xenolith';
import { afterEach, expect, it } from 'vitest';

let machine;
afterEach(() => machine.destroy());

it('sets up C+ rings and both directions', async () => {
  machine = new Machine({ ...tinyGuest(), nics: [{ model: 'rtl8139' }] });
  await machine.run();
  await machine.waitFor('64 bytes from 10.0.2.2: seq=0').catch(() => {});
  machine = new Machine({ ...tinyGuest({ mode: 'answer', count: 1 }), nics: [{ model: 'rtl8139' }] });
  await machine.run();
  await machine.waitFor('answers echo requests');
  const registers = new Map((await machine.nic().registers()).map((register) => [register.name, register]));
  expect(registers.get('ChipCmd').summary).toContain('TxEnb');
  expect(registers.get('ChipCmd').summary).toContain('RxEnb');
  expect(registers.get('IntrMask').value).toBe(0x5);
});

it('sends nothing while the cable is out', async () => {
  machine = new Machine({ ...tinyGuest({ mode: 'answer', count: 1 }), nics: [{ model: 'rtl8139', network: 'none' }] });
  const sent = [];
  machine.on('frame', (frame) => frame.direction === 'out' && sent.push(frame));
  await machine.run();
  await machine.waitFor('answers echo requests');
  await machine.nic().setLink(false);
  await machine.injectFrame(new Uint8Array(60).fill(0xff));
  const { registers } = await machine.nic().state();
  expect(registers.find(({ name }) => name === 'MediaStatus').summary).toContain('LinkFail');
  expect(sent).toEqual([]);
});
