// The spectrum over azimuth and range, and over azimuth and elevation, with a colour bar.
import { Picture, colour, ticks } from "./picture.js";

const DEGREES = 180 / Math.PI;
const MARGIN = { left: 62, right: 62, top: 22, between: 20, bottom: 50 };
const BAR_PX = 12;
const TICKS_PX = { across: 36, up: 30, bar: 58 };

const angles = ([x, y, z]) => {
  const range_m = Math.hypot(x, y, z);
  return { azimuth_deg: Math.atan2(y, x) * DEGREES, elevation_deg: Math.asin(z / range_m) * DEGREES, range_m };
};
// Edges of cells around values, halfway between them.
const edges = (values) => {
  const middles = values.slice(1).map((value, index) => (value + values[index]) / 2);
  return [2 * values[0] - middles[0], ...middles, 2 * values.at(-1) - middles.at(-1)];
};
const RANGES = [-2, -1, 0, 1, 2, 3].flatMap((decade) => [1, 2, 5].map((digit) => digit * 10 ** decade));

export class Spectrum extends Picture {
  // Limits of azimuth_deg, elevation_deg and range_m; colours from low to high; cut: returns which picture to show.
  constructor(element, { azimuth_deg, elevation_deg, range_m, colours }, cut) {
    super(element);
    Object.assign(this, { azimuth_deg, elevation_deg, range_m, colours, cut });
  }

  paint(width, height) {
    const { left, right, top, between, bottom } = MARGIN;
    const tall = (height - top - between - bottom) / 2;
    const wide = width - left - right;
    const [least, most] = this.azimuth_deg;
    const across = (value) => left + ((value - least) / (most - least)) * wide;
    const panels = [
      { name: "range", axis: "range_m", title: "range, m", scale: Math.log, from: top },
      { name: "elevation", axis: "elevation_deg", title: "elevation, degrees", scale: (value) => value, from: top + tall + between },
    ];
    for (const { name, axis, title, scale, from } of panels) {
      const [low, high] = this[axis].map(scale);
      const up = (value) => from + tall - ((scale(value) - low) / (high - low)) * tall;
      const box = { left, top: from, wide, tall };
      this.panel(name, axis, across, up, box);
      const marks =
        name === "range"
          ? RANGES.filter((value) => this.range_m[0] <= value && value <= this.range_m[1]).map((value) => ({ value, text: `${value}` }))
          : ticks(...this[axis], tall / TICKS_PX.up);
      for (const { value, text } of marks) {
        this.line([[left - 5, up(value)], [left, up(value)]], colour("ink"));
        this.write(text, left - 8, up(value), "right");
      }
      this.pen.save();
      this.pen.translate(14, from + tall / 2);
      this.pen.rotate(-Math.PI / 2);
      this.write(title, 0, 0);
      this.pen.restore();
    }
    const foot = height - bottom;
    for (const { value, text } of ticks(...this.azimuth_deg, wide / TICKS_PX.across)) {
      this.line([[across(value), foot], [across(value), foot + 5]], colour("ink"));
      this.write(text, across(value), foot + 15);
    }
    this.write("azimuth, degrees", left + wide / 2, foot + 38);
    this.bar(left + wide + 14, top, foot - top);
  }

  panel(name, axis, across, up, { left, top, wide, tall }) {
    const { pen, frame } = this;
    pen.save();
    pen.beginPath();
    pen.rect(left, top, wide, tall);
    pen.clip();
    pen.fillStyle = this.colours[0];
    pen.fillRect(left, top, wide, tall);
    if (frame?.spectrum) this.cells(name, axis, across, up);
    for (const place of (frame?.true_m ?? []).map(angles)) this.ring(across(place.azimuth_deg), up(place[axis]), 8, "white");
    for (const source of frame?.found ?? []) {
      const [x, y] = [across(source.azimuth_deg), up(source[axis])];
      this.line([[x - 5, y - 5], [x + 5, y + 5], null, [x - 5, y + 5], [x + 5, y - 5]], colour("miss"), 2.2);
    }
    pen.restore();
  }

  cells(name, axis, across, up) {
    const { pen, pointer } = this;
    const { spectrum } = this.frame;
    const lefts = edges(spectrum.azimuth_deg).map((value) => Math.round(across(value)));
    const tops = (axis === "range_m" ? spectrum.range_m : edges(spectrum[axis])).map((value) => Math.round(up(value)));
    spectrum[name + this.cut()].forEach((row, number) => {
      const [top, bottom] = [tops[number], tops[number + 1]].sort((one, other) => one - other);
      row.forEach((level_db, column) => {
        const [from, to] = [lefts[column], lefts[column + 1]];
        pen.fillStyle = this.colours[this.shade(level_db)];
        pen.fillRect(from, top, to - from, bottom - top);
        if (pointer && from <= pointer.x && pointer.x < to && top <= pointer.y && pointer.y < bottom) {
          const value = axis === "range_m" ? Math.sqrt(spectrum.range_m[number] * spectrum.range_m[number + 1]) : spectrum[axis][number];
          const unit = axis === "range_m" ? " m" : "°";
          const text = `azimuth ${spectrum.azimuth_deg[column].toFixed(1)}°, ${name} ${value.toFixed(1)}${unit}: ${level_db.toFixed(1)} dB`;
          this.spots = [{ ...pointer, says: text }];
        }
      });
    });
  }

  shade(level_db) {
    const share = 1 - level_db / this.frame.spectrum.floor_db;
    return Math.round(Math.min(Math.max(share, 0), 1) * (this.colours.length - 1)) || 0;
  }

  bar(left, top, tall) {
    const { pen, colours } = this;
    const shades = pen.createLinearGradient(0, top + tall, 0, top);
    colours.forEach((shade, number) => shades.addColorStop(number / (colours.length - 1), shade));
    pen.fillStyle = shades;
    pen.fillRect(left, top, BAR_PX, tall);
    const floor_db = this.frame?.spectrum?.floor_db;
    if (!floor_db) return;
    this.write("dB", left + BAR_PX / 2, top - 12);
    for (const { value, text } of ticks(floor_db, 0, tall / TICKS_PX.bar)) {
      const y = top + (value / floor_db) * tall;
      this.line([[left + BAR_PX, y], [left + BAR_PX + 4, y]], colour("ink"));
      this.write(text, left + BAR_PX + 7, y, "left");
    }
  }
}
