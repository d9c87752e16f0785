import type { Claim, Ref, Strength } from '../sources/evidence.ts';

/** One statement with what it rests on. */
export interface Sentence {
  readonly text: string;
  readonly strength: Strength;
  readonly refs: readonly Ref[];
}

/** One step of the way. */
export interface Hop extends Sentence {
  /** Nanoseconds from the first hop; undefined where nothing tells. */
  readonly atNs: number | undefined;
  /** Half width of the time, nanoseconds: not zero where the log's clock was laid over the trace's. */
  readonly errorNs: number;
  readonly clock: 'measured' | 'modelled' | undefined;
  /** Who does it: `guest d1v0`, `Xen`, `device model`, `wire`. */
  readonly where: string;
}

/** One thing with the number it has in each address space. */
export interface AddressRow {
  readonly what: string;
  readonly gva: Claim<string>;
  readonly gpa: Claim<string>;
  readonly mfn: Claim<string>;
  /** The device model's own mapping. */
  readonly mapping: Claim<string>;
}

export interface Story {
  /** What must be known first: files that do not belong together, one line each. */
  readonly notes: readonly string[];
  /** The guest's domain; undefined where there is a log alone. */
  readonly domain: number | undefined;
  readonly title: string;
  /** Five plain sentences: what happened, which page, who translated, how long, what is unknown. */
  readonly summary: readonly Sentence[];
  readonly clock: Claim<'modelled' | 'measured'>;
  readonly subject: readonly Sentence[];
  readonly hops: readonly Hop[];
  readonly addresses: readonly AddressRow[];
  /** "Through which page did the request go?" */
  readonly route: readonly Sentence[];
  /** "Why a guest-physical address, and who translates?" */
  readonly translation: readonly Sentence[];
  /** "Where did the time go?" */
  readonly time: readonly Sentence[];
  readonly unknowns: readonly Sentence[];
  /** How the clocks were laid over each other, what did not pair, what was lost. */
  readonly joins: readonly Sentence[];
}

/** `0x1f`. */
export const hex = (n: number | bigint): string => `0x${n.toString(16)}`;
/** One sentence. */
export const say = (text: string, strength: Strength, refs: readonly Ref[]): Sentence => ({ text, strength, refs });
/** A sentence about a claim: its text where it has a value, else that it is unknown and why. */
export const sayClaim = <T>(c: Claim<T>, text: (value: T) => string, otherwise: string): Sentence =>
  c.value === undefined ? say(`${otherwise}: unknown (${c.why}).`, 'unknown', c.refs) : say(text(c.value), c.strength, c.refs);
/** `d1v0`. */
export const vcpuName = (v: { dom: number; vcpu: number }): string => (v.dom < 0 ? 'd?v?' : `d${v.dom}v${v.vcpu}`);
/** Nanoseconds as microseconds. */
export const us = (ns: number): string => `${(ns / 1000).toFixed(1)} µs`;
