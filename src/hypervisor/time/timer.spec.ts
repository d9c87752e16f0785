import { describe, expect, it } from 'vitest';
import { MachineMemory } from '../mm/memory.ts';
import { TimerQueue } from './timer.ts';

describe('timers', () => {
  const make = (): { queue: TimerQueue; memory: MachineMemory } => {
    const memory = MachineMemory.create({ frames: 16, maxGfn: 16 });
    return { memory, queue: new TimerQueue(memory, 1) };
  };

  it('fire once, earliest first, when their time has come', () => {
    const { queue } = make();
    const fired: string[] = [];
    const a = queue.create('a', () => fired.push('a'));
    const b = queue.create('b', () => fired.push('b'));
    expect(queue.nextDeadline()).toBe(Infinity);
    a.set(200);
    b.set(100);
    expect(queue.nextDeadline()).toBe(100);
    expect(queue.runExpired(99)).toBe(0);
    expect(queue.runExpired(250)).toBe(2);
    expect(fired).toEqual(['b', 'a']);
    expect([a.expires, queue.runExpired(300)]).toEqual([Infinity, 0]);
    a.set(0);
    a.stop();
    expect(queue.runExpired(300)).toBe(0);
  });

  it('cannot hold the pCPU by setting themselves into the past', () => {
    const { queue } = make();
    let runs = 0;
    const timer = queue.create('storm', () => {
      runs++;
      timer.set(1);
    });
    timer.set(1);
    queue.runExpired(10);
    expect(runs).toBe(4);
  });

  it('keep their deadlines in machine memory', () => {
    const { queue, memory } = make();
    queue.create('a', () => {}).set(1234);
    const other = new TimerQueue(new MachineMemory(memory.memory, memory.layout), 1);
    expect(other.create('a', () => {}).expires).toBe(1234);
  });
});
