/** Going to and fro in a run that another machine makes too. */
import { beforeAll, describe, expect, it } from 'vitest';
import { assembleTinyGuest } from '../machine/tiny-guest/image.ts';
import { Machine, OpenFiles, readTimeline, type Travel } from './index-node.ts';
import { tellStory } from '../analyze/index.ts';

const options = {
  kernel: assembleTinyGuest(),
  commandLine: 'ping=1',
  memory: 8,
  placement: 'here' as const,
  exact: true,
  records: { trace: true, log: true, capture: true },
};
let travel: Travel;

beforeAll(async () => {
  travel = await new Machine(options).travel();
});

describe('travel', () => {
  it('comes to the same place from before and from behind', () => {
    const forward = travel.goTo({ exits: 250 });
    const registers = travel.registers();
    const nic = travel.nic();
    travel.goTo({ exits: 300 });
    const back = travel.goTo({ exits: 250 });
    expect(back).toEqual(forward);
    expect(travel.registers()).toEqual(registers);
    expect(travel.nic()).toEqual(nic);
    expect(travel.step('exit', 1).exits).toBe(251);
    expect(travel.step('exit', -1).exits).toBe(250);
    expect(travel.goTo({ ns: 1e12 }).isEnd).toBe(true);
    expect(travel.goTo({ exits: 0, instructions: 0 }).isEnd).toBe(false);
  });

  it('stands where the trace of the machine says, and knows who wrote a descriptor', async () => {
    const machine = new Machine(options);
    await machine.run();
    await machine.ended;
    const { trace, log, capture } = await machine.records();
    const files = { trace: new Blob([trace as BlobPart]), log: new Blob([log]), capture: new Blob([capture as BlobPart]) };
    const open = await OpenFiles.open(files);
    const timeline = await readTimeline(open.trace!);
    const story = tellStory(await open.analysis(), { packet: 3 });
    expect(story.title).toContain('echo request');
    const exit = story.hops.find(({ text }) => text.startsWith('leaves the guest'))!;
    const lane = timeline.lanes.find(({ kind }) => kind === 'xen')!;
    const ns = lane.start[lane.offset.indexOf(exit.refs[0]!.at)]!;
    const before = travel.goToMoment(ns + timeline.originNs + 100);
    expect(before.ns).toBeLessThanOrEqual(ns + timeline.originNs + 1);
    // The driver gave the descriptor to the chip before it rang.
    const gpa = Number(story.addresses.find(({ what }) => what.startsWith('descriptor'))!.gpa.value);
    const who = travel.whoWrote(gpa, 4);
    expect(who).toMatchObject({ by: 'guest', text: expect.stringMatching(/^the instruction at 0x/) });
    expect(who.at.ns).toBeLessThanOrEqual(before.ns);
    const after = travel.goTo({ exits: before.exits + 1 });
    expect(travel.whoWrote(gpa, 4)).toMatchObject({ by: 'device model', at: { exits: after.exits } });
    expect(travel.whoWroteRegister('ChipCmd')?.by).toBe('device model');
    expect(travel.whoWroteRegister('none')).toBe(undefined);
  });

  it('is refused for a machine in real time', async () => {
    await expect(new Machine({ ...options, clock: 'host', exact: false }).travel()).rejects.toThrow(/clock: 'virtual'/);
  });
});
