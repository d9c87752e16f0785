/**
 * Control flow of a region as WebAssembly can say it: blocks, loops and one table of entries. Dominators by Cooper, Harvey and
 * Kennedy's iteration; nesting as in Ramsey's "Beyond Relooper" (ICFP 2022): a node lies inside its immediate dominator, in place
 * where one edge leads to it, behind a label where several do. An edge that goes back to a node that does not dominate its source
 * goes through the table.
 */

/** How an edge is written. */
export type EdgeKind =
  /** The target's code stands in place of the jump. */
  | 'inline'
  /** A branch out of a block, to the code behind it. */
  | 'forward'
  /** A branch to a loop's top. */
  | 'loop'
  /** By the table of entries. */
  | 'table';

export interface Structure {
  /** Nodes that the table leads to: those asked for first, in their order. */
  readonly entries: readonly number[];
  /** Is a node the top of a loop? */
  readonly isLoop: readonly boolean[];
  /** Nodes behind a label of each node's own, the last in the code first. Index `nodes` is the table's. */
  readonly labelled: readonly (readonly number[])[];
  /** Some edge goes through the table. */
  readonly tableLoops: boolean;
  /** Nodes in an order in which every edge but those of kind loop and table leads on. */
  readonly order: readonly number[];
  edge(from: number, to: number): EdgeKind;
}

/** @param successors of each node. @param wanted nodes that control enters at; every node must be reached from one. */
export function structure(successors: readonly (readonly number[])[], wanted: readonly number[]): Structure {
  const nodes = successors.length;
  const entries = [...wanted];
  const byTable = new Set<number>();
  const key = (from: number, to: number) => from * nodes + to;
  for (;;) {
    const next = (node: number): readonly number[] =>
      node === nodes ? entries : successors[node]!.filter((to) => !byTable.has(key(node, to)));
    const order = reversePostorder(nodes, next);
    const place = new Int32Array(nodes + 1).fill(-1);
    order.forEach((node, i) => {
      place[node] = i;
    });
    const predecessors: number[][] = Array.from({ length: nodes + 1 }, () => []);
    for (const node of order) for (const to of next(node)) predecessors[to]!.push(node);
    const idom = dominators(order, place, predecessors);
    const dominates = (a: number, b: number): boolean => {
      let at = b;
      while (place[at]! > place[a]!) at = idom[at]!;
      return at === a;
    };
    let again = false;
    for (const from of order) {
      for (const to of next(from)) {
        if (place[to]! > place[from]! || dominates(to, from)) continue;
        byTable.add(key(from, to));
        if (!entries.includes(to)) entries.push(to);
        again = true;
      }
    }
    if (again) continue;
    const isLoop: boolean[] = new Array(nodes).fill(false);
    const labelled: number[][] = Array.from({ length: nodes + 1 }, () => []);
    const merges: boolean[] = new Array(nodes).fill(false);
    for (const node of order) {
      if (node === nodes) continue;
      isLoop[node] = predecessors[node]!.some((from) => place[from]! >= place[node]!);
      const forward = predecessors[node]!.filter((from) => place[from]! < place[node]!);
      merges[node] = forward.length > 1 || forward[0] === nodes;
    }
    for (let i = order.length - 1; i > 0; i--) {
      const node = order[i]!;
      if (merges[node]) labelled[idom[node]!]!.push(node);
    }
    return {
      entries,
      isLoop,
      labelled,
      tableLoops: byTable.size > 0,
      order: order.slice(1),
      edge: (from, to) =>
        byTable.has(key(from, to)) ? 'table' : place[to]! <= place[from]! ? 'loop' : merges[to] ? 'forward' : 'inline',
    };
  }
}

/** From the root, number `root`; unreached nodes are left out. */
function reversePostorder(root: number, next: (node: number) => readonly number[]): number[] {
  const seen = new Set([root]);
  const order: number[] = [];
  const stack: { node: number; rest: readonly number[]; at: number }[] = [{ node: root, rest: next(root), at: 0 }];
  while (stack.length) {
    const top = stack[stack.length - 1]!;
    const to = top.rest[top.at++];
    if (to === undefined) {
      order.push(top.node);
      stack.pop();
    } else if (!seen.has(to)) {
      seen.add(to);
      stack.push({ node: to, rest: next(to), at: 0 });
    }
  }
  return order.reverse();
}

function dominators(order: readonly number[], place: Int32Array, predecessors: readonly (readonly number[])[]): Int32Array {
  const idom = new Int32Array(place.length).fill(-1);
  const root = order[0]!;
  idom[root] = root;
  const meet = (a: number, b: number): number => {
    while (a !== b) {
      while (place[a]! > place[b]!) a = idom[a]!;
      while (place[b]! > place[a]!) b = idom[b]!;
    }
    return a;
  };
  for (let changed = true; changed; ) {
    changed = false;
    for (let i = 1; i < order.length; i++) {
      const node = order[i]!;
      let dominator = -1;
      for (const from of predecessors[node]!) if (idom[from]! >= 0) dominator = dominator < 0 ? from : meet(dominator, from);
      if (idom[node] === dominator) continue;
      idom[node] = dominator;
      changed = true;
    }
  }
  return idom;
}
