// Plotly's figures, filled frame by frame. A frame that comes while one is drawn replaces the one that waits.
const DEGREES = 180 / Math.PI;
const OUTLINE = Array.from({ length: 41 }, (_, step) => (2 * Math.PI * step) / 40);
const TRAIL = 40;

export const hasWebGL = () => {
  try {
    const canvas = document.createElement("canvas");
    return Boolean(canvas.getContext("webgl2") || canvas.getContext("webgl"));
  } catch {
    return false;
  }
};

export class Figure {
  // fill: (frame) => ({meta: what changes in the trace of that name}).
  constructor(element, { data, layout }, fill) {
    Object.assign(this, { element, data, layout, fill, waiting: null, busy: false });
    const touched = matchMedia("(pointer: coarse)").matches;
    this.config = { responsive: true, displaylogo: false, displayModeBar: touched ? false : "hover" };
    if (touched && !layout.scene) layout.dragmode = false; // a finger scrolls the page
    if (innerWidth < 700 && layout.scene) {
      for (const axis of "xyz") layout.scene.camera.eye[axis] *= 1.25; // a narrow picture cuts off its sides
      layout.height = 330;
      layout.margin.l = 12;
    }
    this.show(null);
  }

  show(frame) {
    this.waiting = { frame };
    if (!this.busy) this.draw();
  }

  async draw() {
    this.busy = true;
    while (this.waiting) {
      await new Promise(requestAnimationFrame); // a page that is hidden draws nothing
      const { frame } = this.waiting;
      this.waiting = null;
      const filled = frame ? this.fill(frame) : {};
      this.data = this.data.map((trace) => ({ ...trace, ...filled[trace.meta] }));
      await Plotly.react(this.element, this.data, this.layout, this.config);
      if (frame) {
        this.element.dataset.frame = frame.number;
        this.element.dataset.drawn = Number(this.element.dataset.drawn ?? 0) + 1;
      }
    }
    this.busy = false;
  }
}

const kind = (source) => (source.hit === null ? "found" : source.hit ? "hit" : "miss");
const KINDS = ["found", "hit", "miss"];
const says = (source) => `score ${source.score?.toFixed(2)}, ${source.range_m.toFixed(2)} m away`;
const column = (points, axis) => points.map((point) => point[axis]);

const ellipsoids = (sources, { points, i, j, k }) => {
  const mesh = { x: [], y: [], z: [], i: [], j: [], k: [] };
  for (const { position_m: at, semi_axes_m: axes } of sources.filter((source) => source.semi_axes_m)) {
    const first = mesh.x.length;
    for (const [u, v, w] of points) {
      ["x", "y", "z"].forEach((axis, row) => {
        mesh[axis].push(at[row] + axes[row][0] * u + axes[row][1] * v + axes[row][2] * w);
      });
    }
    mesh.i.push(...i.map((corner) => corner + first));
    mesh.j.push(...j.map((corner) => corner + first));
    mesh.k.push(...k.map((corner) => corner + first));
  }
  return mesh;
};

export const inSpace = (sphere) => {
  const trail = new Trail();
  return (frame) => {
    const filled = { true: xyz(frame.true_m ?? []), trail: xyz(trail.after(frame)) };
    for (const name of KINDS) {
      const sources = frame.found.filter((source) => kind(source) === name);
      filled[name] = { ...xyz(sources.map((source) => source.position_m)), text: sources.map(says) };
      filled[`${name}-error`] = ellipsoids(sources, sphere);
    }
    return filled;
  };
};

const xyz = (points) => ({ x: column(points, 0), y: column(points, 1), z: column(points, 2) });

// Where sources were found before, while they move.
class Trail {
  points = [];

  after(frame) {
    if (frame.series !== this.series) this.points = [];
    this.series = frame.series;
    const before = this.points.flat();
    if (frame.moving) this.points = [...this.points, frame.found.map((source) => source.position_m)].slice(-TRAIL);
    return before;
  }
}

// The outline of an ellipsoid seen along an axis: the ellipse B u over the unit circle, B B^T that of the two rows of A.
const outline = ({ position_m: at, semi_axes_m: axes }, rows) => {
  const dot = (one, other) => axes[one].reduce((sum, value, index) => sum + value * axes[other][index], 0);
  const [a, b] = rows;
  const down = Math.sqrt(dot(a, a)) || 1e-9;
  const slant = dot(a, b) / down;
  const rest = Math.sqrt(Math.max(dot(b, b) - slant * slant, 0));
  return {
    x: [...OUTLINE.map((turn) => at[a] + down * Math.cos(turn)), null],
    y: [...OUTLINE.map((turn) => at[b] + slant * Math.cos(turn) + rest * Math.sin(turn)), null],
  };
};

export const flat = () => {
  const trail = new Trail();
  return (frame) => {
    const filled = {};
    const before = trail.after(frame);
    for (const [name, row] of [["y", 1], ["z", 2]]) {
      const places = (points) => ({ x: column(points, 0), y: column(points, row) });
      filled[`true-${name}`] = places(frame.true_m ?? []);
      filled[`trail-${name}`] = places(before);
      for (const which of KINDS) {
        const sources = frame.found.filter((source) => kind(source) === which);
        const lines = sources.filter((source) => source.semi_axes_m).map((source) => outline(source, [0, row]));
        filled[`${which}-${name}`] = { ...places(sources.map((source) => source.position_m)), text: sources.map(says) };
        filled[`${which}-error-${name}`] = {
          x: lines.flatMap((line) => line.x),
          y: lines.flatMap((line) => line.y),
        };
      }
    }
    return filled;
  };
};

const angles = ([x, y, z]) => {
  const range_m = Math.hypot(x, y, z);
  return { azimuth_deg: Math.atan2(y, x) * DEGREES, elevation_deg: Math.asin(z / range_m) * DEGREES, range_m };
};

export const spectrum = (cut) => (frame) => {
  const filled = {};
  const sources = { true: (frame.true_m ?? []).map(angles), found: frame.found };
  for (const [name, axis] of [["range", "range_m"], ["elevation", "elevation_deg"]]) {
    if (frame.spectrum) {
      const { azimuth_deg: x, [axis]: y, [name + cut()]: z, floor_db: zmin } = frame.spectrum;
      filled[name] = { x, y, z, zmin };
    }
    for (const [which, all] of Object.entries(sources)) {
      filled[`${which}-${name}`] = { x: all.map((one) => one.azimuth_deg), y: all.map((one) => one[axis]) };
    }
  }
  return filled;
};
