"use strict";
// The chart of a browser with scripts: uPlot in the place of the SVG, from the very points that the SVG shows.
(() => {
  let plot = null;
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const figure = (value) => value.toLocaleString("en-US", { maximumFractionDigits: 2 });
  const CLOCK = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };

  function shade(u, from, to, fill) {
    const [left, right] = [from, to].map((at) => Math.min(Math.max(u.valToPos(at, "x", true), u.bbox.left), u.bbox.left + u.bbox.width));
    if (right <= left) return;
    u.ctx.fillStyle = fill;
    u.ctx.fillRect(left, u.bbox.top, Math.max(right - left, 1), u.bbox.height);
  }

  function hatch(u, from, to) {
    const { ctx, bbox } = u;
    const left = Math.max(u.valToPos(from, "x", true), bbox.left);
    const right = Math.min(u.valToPos(to, "x", true), bbox.left + bbox.width);
    if (right <= left) return;
    ctx.save();
    ctx.beginPath();
    ctx.rect(left, bbox.top, right - left, bbox.height);
    ctx.clip();
    ctx.strokeStyle = color("--hatch");
    ctx.lineWidth = 1.5 * devicePixelRatio;
    ctx.beginPath();
    for (let x = left - bbox.height; x < right; x += 8 * devicePixelRatio) {
      ctx.moveTo(x, bbox.top + bbox.height);
      ctx.lineTo(x + bbox.height, bbox.top);
    }
    ctx.stroke();
    ctx.restore();
  }

  function behind(u, course) {
    for (const [from, to, severity] of course.spans) {
      u.ctx.globalAlpha = 0.12;
      shade(u, from, to ?? course.end, color(`--${severity}`));
      u.ctx.globalAlpha = 1;
    }
    course.y.forEach((value, at) => { if (value === null) hatch(u, course.x[at - 1], course.x[at + 1]); });
    const last = course.x.length - 1;
    if (last >= 0 && course.x[last] < course.end) hatch(u, course.x[last], course.end);
  }

  function line(u, y, stroke, dash) {
    const at = u.valToPos(y, "y", true);
    if (at < u.bbox.top || at > u.bbox.top + u.bbox.height) return;
    u.ctx.strokeStyle = stroke;
    u.ctx.setLineDash(dash.map((each) => each * devicePixelRatio));
    u.ctx.beginPath();
    u.ctx.moveTo(u.bbox.left, at);
    u.ctx.lineTo(u.bbox.left + u.bbox.width, at);
    u.ctx.stroke();
    u.ctx.setLineDash([]);
  }

  function over(u, course) {
    const { ctx } = u;
    ctx.save();
    ctx.beginPath();
    ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
    ctx.clip();
    ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
    ctx.lineWidth = devicePixelRatio;
    for (const [severity, below, clear] of course.levels) {
      line(u, below, color(`--${severity}`), []);
      line(u, clear, color(`--${severity}`), [2, 4]);
      ctx.fillStyle = color(`--${severity}`);
      ctx.textAlign = "left";
      ctx.fillText(`${severity} ${figure(below)}`, u.bbox.left + 6, u.valToPos(below, "y", true) + 13 * devicePixelRatio);
    }
    const at = (x, y) => [u.valToPos(x, "x", true), u.valToPos(y, "y", true)];
    const last = course.x.length - 1;
    if (course.forecast && last >= 0 && course.forecast[1]) {
      const [early, likely, late] = course.forecast;
      const begin = at(course.x[last], course.y[last]);
      ctx.fillStyle = color("--accent");
      ctx.globalAlpha = 0.15;
      ctx.beginPath();
      ctx.moveTo(...begin);
      ctx.lineTo(...at(early ?? likely, 0));
      ctx.lineTo(...at(late ?? course.end * 2 - course.begin, 0));
      ctx.fill();
      ctx.globalAlpha = 1;
      ctx.strokeStyle = color("--accent");
      ctx.setLineDash([5 * devicePixelRatio, 4 * devicePixelRatio]);
      ctx.beginPath();
      ctx.moveTo(...begin);
      ctx.lineTo(...at(likely, 0));
      ctx.stroke();
      ctx.setLineDash([]);
      ctx.fillStyle = color("--accent");
      ctx.textAlign = "right";
      const end = Math.min(u.valToPos(likely, "x", true) + 60 * devicePixelRatio, u.bbox.left + u.bbox.width - 4 * devicePixelRatio);
      ctx.fillText(`empty ${course.empty}`, end, u.valToPos(0, "y", true) - 8 * devicePixelRatio);
    }
    ctx.fillStyle = color("--came");
    ctx.strokeStyle = color("--came");
    ctx.textAlign = "center";
    let free = -Infinity;
    for (const [when, amount, refill] of course.rises) {
      const index = course.x.findIndex((x) => x >= when);
      const [x, y] = at(when, course.y[index] ?? 0);
      ctx.beginPath();
      if (refill) { ctx.arc(x, y, 3.5 * devicePixelRatio, 0, 7); ctx.stroke(); } else {
        const size = 5 * devicePixelRatio;
        ctx.moveTo(x, y - size); ctx.lineTo(x + size, y + size * 0.7); ctx.lineTo(x - size, y + size * 0.7); ctx.fill();
      }
      if (x > free) {
        ctx.fillText(`+${figure(amount)}`, x, Math.max(y - 9 * devicePixelRatio, u.bbox.top + 11 * devicePixelRatio));
        free = x + 80 * devicePixelRatio;
      }
    }
    ctx.restore();
  }

  function draw() {
    const holder = document.querySelector("figure.course");
    if (!holder || typeof uPlot === "undefined") return;
    const course = JSON.parse(holder.dataset.course);
    if (!course.x.length) return;
    const svg = holder.querySelector("svg.chart");
    if (svg) svg.setAttribute("hidden", "");
    if (plot) plot.destroy();
    holder.classList.add("live");
    const seen = course.forecast?.[2] ?? course.forecast?.[1];
    const ahead = Math.min(Math.max((seen ?? course.end) - course.end, 0) * 1.08, (course.end - course.begin) * 0.6);
    const high = Math.max(...course.y, ...course.levels.map((level) => level[1]).filter((y) => y <= 2 * Math.max(...course.y)));
    const low = Math.min(0, ...course.y);
    const axis = { stroke: color("--faint"), font: "11px system-ui, sans-serif", grid: { stroke: color("--grid"), width: 1 }, ticks: { stroke: color("--grid"), width: 1 } };
    const value = (_, y) => (y === null || y === undefined ? "–" : `${figure(y)} ${course.unit}`);
    const when = (_, x) => (x ? new Date(x * 1000).toLocaleString("en-GB", { timeZone: course.zone, weekday: "short", day: "numeric", month: "short", ...CLOCK }) : "–");
    plot = new uPlot({
      width: holder.clientWidth, height: Math.max(220, Math.min(340, holder.clientWidth * 0.5)),
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), course.zone),
      scales: { x: { time: true, min: course.begin, max: course.end + ahead, range: (_, min, max) => [min, max] }, y: { range: () => [low, high * 1.05 || 1] } },
      axes: [{ ...axis, values: dates() }, { ...axis, size: 70, values: (_, ticks) => ticks.map(figure) }],
      series: [{ label: "Time", value: when }, { label: "Balance", stroke: color("--accent"), width: 2, fill: color("--accent-faint"), paths: uPlot.paths.stepped({ align: 1 }), points: { show: course.x.length === 1 }, spanGaps: false, value }],
      cursor: { drag: { x: true, y: false, setScale: false }, points: { size: 7 } },
      hooks: { drawClear: [(u) => behind(u, course)], draw: [(u) => over(u, course)], setSelect: [(u) => zoom(u)] },
    }, [course.x, course.y], holder);
    plot.setScale("x", { min: course.begin, max: course.end + ahead });
  }

  function dates() {
    return [
      [3600 * 24 * 365, "{YYYY}", null, null, null, null, null, null, 1],
      [3600 * 24 * 28, "{MMM}", "\n{YYYY}", null, null, null, null, null, 1],
      [3600 * 24, "{D} {MMM}", "\n{YYYY}", null, null, null, null, null, 1],
      [60, "{HH}:{mm}", "\n{D} {MMM}", null, "\n{D} {MMM}", null, null, null, 1],
    ];
  }

  function zoom(u) {
    if (u.select.width < 8) return;
    const [from, to] = [u.select.left, u.select.left + u.select.width].map((x) => new Date(u.posToVal(x, "x") * 1000).toISOString().slice(0, 19) + "Z");
    const url = new URL(location.href);
    url.searchParams.delete("range");
    url.searchParams.set("from", from);
    url.searchParams.set("to", to);
    location.assign(url);
  }

  document.addEventListener("keydown", (event) => {
    if (!plot || (event.key !== "ArrowLeft" && event.key !== "ArrowRight") || event.target.matches("input, select")) return;
    const xs = plot.data[0];
    const now = plot.cursor.idx ?? xs.length - 1;
    const next = Math.min(Math.max(now + (event.key === "ArrowLeft" ? -1 : 1) * Math.max(1, Math.round(xs.length / 120)), 0), xs.length - 1);
    event.preventDefault();
    plot.setCursor({ left: plot.valToPos(xs[next], "x"), top: plot.valToPos(plot.data[1][next] ?? 0, "y") });
  });
  let waiting = 0;
  addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(draw, 150); });
  for (const name of ["replaced", "themed"]) document.addEventListener(name, draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  addEventListener("beforeprint", () => { document.querySelector("svg.chart")?.removeAttribute("hidden"); });
  addEventListener("afterprint", draw);
  draw();
})();
