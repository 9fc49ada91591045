// The scene in 3-D, in parallel projection, so that the outline of an ellipsoid is an ellipse. Drag turns, the wheel zooms.
import { Picture, colour, ticks } from "./picture.js";

const HOME = { turn: -2.214, tilt: 0.4, zoom: 1, shift: [0, 0] }; // radians; seen from behind the surface, to its right
const [LOWEST, HIGHEST] = [0.03, Math.PI / 2];
const RADIANS_PER_PX = 0.01;
const MARGIN = { left: 66, right: 40, top: 16, bottom: 48 };
const TICK_PX = 42;
const OUTLINE = Array.from({ length: 41 }, (_, step) => (2 * Math.PI * step) / 40);
const TRAIL = 40;

const kind = (source) => (source.hit === false ? "miss" : "hit");
const says = ({ score, range_m, position_m: [x, y, z] }) =>
  `score ${score?.toFixed(2)}, ${range_m.toFixed(2)} m away: x ${x.toFixed(2)}, y ${y.toFixed(2)}, z ${z.toFixed(2)} m`;
const dot = (one, other) => one.reduce((sum, value, index) => sum + value * other[index], 0);

export class Space extends Picture {
  // limits_m: limits of the axes, [3][2]. edges_m: edges of the field of view, points or null. surface_m: its corners.
  constructor(element, { limits_m, edges_m, surface_m }) {
    super(element);
    Object.assign(this, { limits_m, edges_m, surface_m, trail: [], before: [], ...structuredClone(HOME) });
    element.addEventListener("pointerdown", ({ pointerId }) => element.setPointerCapture(pointerId));
    element.addEventListener("pointermove", ({ buttons, movementX, movementY }) => {
      if (!buttons) return;
      this.turn -= RADIANS_PER_PX * movementX;
      this.tilt = Math.min(Math.max(this.tilt + RADIANS_PER_PX * movementY, LOWEST), HIGHEST);
    });
    element.addEventListener("wheel", (event) => {
      event.preventDefault();
      const zoom = Math.min(Math.max(this.zoom * Math.exp(-0.002 * event.deltaY), 1), 50);
      const from = [event.offsetX - element.clientWidth / 2, event.offsetY - element.clientHeight / 2];
      this.shift = zoom === 1 ? [0, 0] : from.map((at, axis) => at - ((at - this.shift[axis]) * zoom) / this.zoom);
      this.zoom = zoom;
      this.soon();
    });
    element.addEventListener("dblclick", () => {
      Object.assign(this, structuredClone(HOME));
      this.soon();
    });
  }

  show(frame) {
    if (frame.series !== this.series) this.trail = [];
    this.series = frame.series;
    this.before = this.trail.flat();
    if (frame.moving) this.trail = [...this.trail, frame.found.map((source) => source.position_m)].slice(-TRAIL);
    super.show(frame);
  }

  // Computes the projection: the rows of `across` give pixels to the right and down, `towards` points to the viewer.
  look(width, height) {
    const [sin, cos, up, level] = [Math.sin(this.turn), Math.cos(this.turn), Math.sin(this.tilt), Math.cos(this.tilt)];
    this.towards = [cos * level, sin * level, up];
    const rows = [[-sin, cos, 0], [cos * up, sin * up, -level]];
    const { left, right, top, bottom } = MARGIN;
    const ends = rows.map((row) =>
      row.reduce(([low, high], part, axis) => {
        const values = this.limits_m[axis].map((limit) => part * limit);
        return [low + Math.min(...values), high + Math.max(...values)];
      }, [0, 0]),
    );
    const room = [width - left - right, height - top - bottom];
    const scale = this.zoom * Math.min(...ends.map(([low, high], row) => room[row] / (high - low)));
    this.across = rows.map((row) => row.map((part) => part * scale));
    const middle = [left + room[0] / 2, top + room[1] / 2];
    const half = [width / 2, height / 2];
    this.origin = ends.map(([low, high], row) => {
      const away = (middle[row] - half[row]) * this.zoom;
      return half[row] + this.shift[row] + away - (scale * (low + high)) / 2;
    });
  }

  at(point) {
    return this.across.map((row, axis) => this.origin[axis] + dot(row, point));
  }

  paint(width, height) {
    this.look(width, height);
    this.box();
    this.line(this.edges_m.map((point) => point && this.at(point)), "#8a939b");
    this.surface();
    if (this.frame) this.sources(this.frame);
  }

  // Draws the floor and the walls behind the scene, with grid lines and labels.
  box() {
    const { limits_m, towards } = this;
    const far = limits_m.map(([low, high], axis) => (towards[axis] > 0 ? low : high));
    const near = limits_m.map(([low, high], axis) => (towards[axis] > 0 ? high : low));
    const place = (values) => this.at([0, 1, 2].map((axis) => values[axis] ?? far[axis]));
    for (const [one, other] of [[0, 1], [0, 2], [1, 2]]) {
      const corners = [[0, 0], [0, 1], [1, 1], [1, 0]].map(([u, v]) =>
        place({ [one]: limits_m[one][u], [other]: limits_m[other][v] }),
      );
      this.area(corners, "#f7f8f9");
    }
    const zAt = place({ 0: near[0] })[0] < place({ 1: near[1] })[0] ? 0 : 1; // the left one of the two edges
    for (const axis of [0, 1, 2]) {
      const walls = [0, 1, 2].filter((other) => other !== axis);
      const side = axis === 2 ? zAt : 1 - axis; // the labels are on the edge that is near along this axis
      const [low, high] = limits_m[axis].map((limit) => place({ [axis]: limit, [side]: near[side] }));
      const length = Math.hypot(high[0] - low[0], high[1] - low[1]);
      const back = place({ [axis]: limits_m[axis][0] });
      const out = [low[0] - back[0], low[1] - back[1]];
      const unit = axis === 2 ? [-1, 0] : out.map((part) => part / (Math.hypot(...out) || 1));
      for (const { value, text } of ticks(...limits_m[axis], length / TICK_PX)) {
        for (const wall of walls) {
          const ends = limits_m[wall].map((limit) => place({ [axis]: value, [wall]: limit }));
          this.line(ends, "#dddddd");
        }
        const [x, y] = place({ [axis]: value, [side]: near[side] });
        if (length > TICK_PX) this.write(text, x + 15 * unit[0], y + 16 * unit[1]);
      }
      const name = `${"xyz"[axis]}, m`;
      const middle = [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2];
      if (length > TICK_PX) this.write(name, middle[0] + 48 * unit[0], middle[1] + 50 * unit[1]);
    }
  }

  area(corners, fill) {
    const { pen } = this;
    pen.beginPath();
    for (const corner of corners) pen.lineTo(...corner);
    pen.fillStyle = fill;
    pen.fill();
  }

  surface() {
    const corners = this.surface_m.map((corner) => this.at(corner));
    this.area(corners, `${colour("ink")}d9`);
    this.spots.push(...corners.map(([x, y]) => ({ x, y, says: "RIS" })));
  }

  sources(frame) {
    const { pen } = this;
    const places = [...frame.found].sort((one, other) => this.nearness(one) - this.nearness(other));
    pen.fillStyle = "#8fa3b0";
    for (const place of this.before) {
      const [x, y] = this.at(place);
      pen.fillRect(x - 1.5, y - 1.5, 3, 3);
    }
    for (const source of places) {
      const [x, y, z] = source.position_m;
      const foot = [x, y, Math.min(this.limits_m[2][0], z)];
      this.line([this.at(source.position_m), this.at(foot)], "#b4bcc3");
      if (source.semi_axes_m) this.ellipsoid(source, colour(kind(source)));
    }
    for (const place of frame.true_m ?? []) this.ring(...this.at(place), 7, colour("ink"));
    for (const source of places) {
      const [x, y] = this.at(source.position_m);
      this.mark(x, y, kind(source));
      this.spots.push({ x, y, says: says(source) });
    }
  }

  nearness(source) {
    return dot(this.towards, source.position_m);
  }

  mark(x, y, name) {
    if (name === "miss") {
      this.area([[x - 6, y], [x, y - 6], [x + 6, y], [x, y + 6]], colour(name));
    } else {
      this.pen.beginPath();
      this.pen.arc(x, y, 4.5, 0, 2 * Math.PI);
      this.pen.fillStyle = colour(name);
      this.pen.fill();
    }
  }

  // Outline B u for u on the unit circle, where B B^T equals P P^T and P is the projection of the semi-axes.
  ellipsoid({ position_m, semi_axes_m }, hue) {
    const [right, down] = this.across.map((row) => [0, 1, 2].map((axis) => dot(row, semi_axes_m.map((of) => of[axis]))));
    const wide = Math.sqrt(dot(right, right)) || 1e-9;
    const slant = dot(right, down) / wide;
    const rest = Math.sqrt(Math.max(dot(down, down) - slant * slant, 0));
    const [x, y] = this.at(position_m);
    const points = OUTLINE.map((angle) => [
      x + wide * Math.cos(angle),
      y + slant * Math.cos(angle) + rest * Math.sin(angle),
    ]);
    this.area(points, `${hue}40`);
    this.line(points, `${hue}90`);
  }
}
