// Thumbnails to click: each click replaces the older of the two choices. Buttons, so that Tab and Enter work as well.

const PIXELS = 28, COLORS = { first: "#3f90da", second: "#e76300" };

function render({ model, el }) {
  const pixels = model.get("pixels"), labels = model.get("labels");
  const root = document.createElement("div");
  root.className = "digit-picker";
  root.style.cssText = "display:grid;grid-template-columns:repeat(10, 34px);gap:2px;margin-bottom:6px;";
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "Click two digits");
  let next = "first";

  const buttons = labels.map((label, index) => {
    const button = document.createElement("button"), canvas = document.createElement("canvas");
    button.type = "button";
    button.style.cssText = "padding:0;background:none;line-height:0;cursor:pointer;";
    canvas.width = canvas.height = PIXELS;
    const c = canvas.getContext("2d"), image = c.createImageData(PIXELS, PIXELS);
    for (let i = 0; i < PIXELS * PIXELS; i++) {
      image.data.fill(pixels.getUint8(index * PIXELS * PIXELS + i), 4 * i, 4 * i + 3);
      image.data[4 * i + 3] = 255;
    }
    c.putImageData(image, 0, 0);
    button.append(canvas);
    button.addEventListener("click", () => {
      model.set(next, index);
      model.save_changes();
      next = next === "first" ? "second" : "first";
    });
    root.append(button);
    return button;
  });
  function mark() {
    buttons.forEach((button, index) => {
      const role = ["first", "second"].filter((name) => model.get(name) === index);
      button.style.border = `3px solid ${COLORS[role[0]] ?? "transparent"}`;
      button.setAttribute("aria-pressed", role.length > 0);
      button.setAttribute("aria-label", `image ${index}, a ${labels[index]}${role.length ? `, ${role.join(" and ")}` : ""}`);
    });
  }
  for (const name of ["change:first", "change:second"]) model.on(name, mark);
  mark();
  el.append(root);
  return () => ["change:first", "change:second"].forEach((name) => model.off(name, mark));
}

export default { render };
