import { describe, expect, it } from 'vitest';
import { CallbackVia, GsiLines, HvmIrq, hvmPciIntxGsi } from './irq.ts';
import { MachineMemory } from '../mm/memory.ts';

const hub = (): { irq: HvmIrq; edges: string[] } => {
  const edges: string[] = [];
  const memory = MachineMemory.create({ frames: 16, maxGfn: 16 });
  const irq = new HvmIrq(new GsiLines(memory, 1), {
    vioapicIrqPositiveEdge: (gsi) => edges.push(`ioapic ${gsi}`),
    vpicIrqPositiveEdge: (line) => edges.push(`pic+ ${line}`),
    vpicIrqNegativeEdge: (line) => edges.push(`pic- ${line}`),
  });
  return { irq, edges };
};

describe('interrupt lines of a domain', () => {
  it("routes INTx as Xen does: its GSI, and its link's ISA interrupt", () => {
    const { irq, edges } = hub();
    expect(hvmPciIntxGsi(4, 0)).toBe(32);
    expect(hvmPciIntxGsi(3, 0)).toBe(28);
    expect(hvmPciIntxGsi(31, 3)).toBe(18);
    expect(irq.setPciLinkRoute(0, 5)).toBe(0);
    irq.setPciIntxLevel(4, 0, true);
    irq.setPciIntxLevel(4, 0, true);
    expect(edges).toEqual(['ioapic 32', 'ioapic 5', 'pic+ 5']);
    expect(irq.gsiAssertCount(32)).toBe(1);
    edges.length = 0;
    irq.setPciIntxLevel(4, 0, false);
    expect(edges).toEqual(['pic- 5']);
    expect(irq.gsiAssertCount(32)).toBe(0);
  });

  it('keeps a shared line up until the last device lets go', () => {
    const { irq, edges } = hub();
    irq.setPciLinkRoute(0, 11);
    irq.setPciIntxLevel(4, 0, true);
    irq.setPciIntxLevel(8, 0, true);
    irq.setPciIntxLevel(4, 0, false);
    expect(edges.filter((e) => e.startsWith('pic'))).toEqual(['pic+ 11']);
    irq.setPciIntxLevel(8, 0, false);
    expect(edges.filter((e) => e.startsWith('pic'))).toEqual(['pic+ 11', 'pic- 11']);
  });

  it('moves an asserted link to its new interrupt', () => {
    const { irq, edges } = hub();
    irq.setPciLinkRoute(1, 10);
    irq.setPciIntxLevel(5, 0, true);
    edges.length = 0;
    expect(irq.setPciLinkRoute(1, 11)).toBe(0);
    expect(edges).toEqual(['pic- 10', 'ioapic 11', 'pic+ 11']);
    expect(irq.setPciLinkRoute(4, 1)).toBe(-22);
    expect(irq.setPciLinkRoute(0, 16)).toBe(-22);
  });

  it('wires ISA interrupt 0 to pin 2', () => {
    const { irq, edges } = hub();
    irq.isaIrqAssert(0);
    irq.isaIrqAssert(0);
    expect(edges).toEqual(['ioapic 2', 'pic+ 0']);
    irq.isaIrqDeassert(0);
    expect(edges).toEqual(['ioapic 2', 'pic+ 0', 'pic- 0']);
  });

  it('holds the callback line while the upcall is pending, over a change of line', () => {
    const { irq, edges } = hub();
    irq.setCallbackVia(20, 0);
    expect(irq.callbackViaType).toBe(CallbackVia.gsi);
    irq.setCallbackIrqLevel(true);
    expect(irq.gsiAssertCount(20)).toBe(1);
    irq.setCallbackVia((3 << 11) | 1, 1 << 24);
    expect(irq.gsiAssertCount(20)).toBe(0);
    expect(irq.gsiAssertCount(hvmPciIntxGsi(3, 1))).toBe(1);
    irq.setCallbackIrqLevel(false);
    expect(irq.gsiAssertCount(hvmPciIntxGsi(3, 1))).toBe(0);
    irq.setCallbackVia(0xf3, 2 << 24);
    expect(irq.callbackViaType).toBe(CallbackVia.vector);
    expect(irq.callbackVector).toBe(0xf3);
    irq.setCallbackVia(0, 0);
    expect(irq.callbackViaType).toBe(CallbackVia.none);
    irq.setCallbackVia(99, 0);
    expect(irq.callbackViaType).toBe(CallbackVia.none);
    expect(edges).toEqual(['ioapic 20', `ioapic ${hvmPciIntxGsi(3, 1)}`]);
  });
});
