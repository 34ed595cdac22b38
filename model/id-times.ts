const FIRST_CAPACITY = 8
/** More places are not kept when nothing is left in them: a burst must not cost memory for ever. */
const MAX_KEPT_CAPACITY = 1024

/**
 * A moment for each of some packet ids, 1 to 65535. What a `Map` does, in two typed arrays: as ids come and go, a map makes
 * tables of ever new ones, of which each keeps the next alive, so that the garbage collector takes all of them for old.
 */
export class IdTimes {
  #size = 0
  /** By hash, or in the next free place; 0 = free. At most half of the places are taken. */
  #ids = new Uint16Array(0)
  #times = new Float64Array(0)

  get size(): number {
    return this.#size
  }

  get(id: number): number | undefined {
    const at = this.#find(id)
    return at < 0 ? undefined : this.#times[at]
  }

  /** @param time - any number */
  set(id: number, time: number): void {
    let at = this.#find(id)
    if (at < 0) {
      if (this.#size * 2 >= this.#ids.length) this.#grow()
      at = this.#placeFor(id)
      this.#ids[at] = id
      this.#size++
    }
    this.#times[at] = time
  }

  /** @returns false if it was not there */
  delete(id: number): boolean {
    const found = this.#find(id)
    if (found < 0) return false
    this.#size--
    if (this.#size === 0 && this.#ids.length > MAX_KEPT_CAPACITY) this.#release()
    else this.#close(found)
    return true
  }

  /** All of them as they are now, in no order. */
  entries(): [id: number, time: number][] {
    const all: [id: number, time: number][] = []
    for (const [at, id] of this.#ids.entries()) if (id !== 0) all.push([id, this.#times[at] as number])
    return all
  }

  #find(id: number): number {
    const ids = this.#ids
    const mask = ids.length - 1
    if (mask < 0) return -1
    for (let at = placeOf(id, mask); ids[at] !== 0; at = (at + 1) & mask) if (ids[at] === id) return at
    return -1
  }

  #placeFor(id: number): number {
    const mask = this.#ids.length - 1
    let at = placeOf(id, mask)
    while (this.#ids[at] !== 0) at = (at + 1) & mask
    return at
  }

  /** Frees a place, and moves into it what would not be found behind it. */
  #close(freed: number): void {
    const ids = this.#ids
    const mask = ids.length - 1
    let free = freed
    for (let at = (free + 1) & mask; ids[at] !== 0; at = (at + 1) & mask) {
      const wanted = placeOf(ids[at] as number, mask)
      // It stays where it is if its place is between the free one and here.
      if (((at - wanted) & mask) < ((at - free) & mask)) continue
      ids[free] = ids[at] as number
      this.#times[free] = this.#times[at] as number
      free = at
    }
    ids[free] = 0
  }

  #release(): void {
    this.#ids = new Uint16Array(0)
    this.#times = new Float64Array(0)
  }

  #grow(): void {
    const [ids, times] = [this.#ids, this.#times]
    const capacity = Math.max(FIRST_CAPACITY, ids.length * 2)
    this.#ids = new Uint16Array(capacity)
    this.#times = new Float64Array(capacity)
    for (const [from, id] of ids.entries()) {
      if (id === 0) continue
      const to = this.#placeFor(id)
      this.#ids[to] = id
      this.#times[to] = times[from] as number
    }
  }
}

/** Spread, so that ids that somebody has chosen are not all in one place. */
function placeOf(id: number, mask: number): number {
  return (Math.imul(id, 0x9e3779b1) >>> 15) & mask
}
