// A place to drop files or a folder, or to choose them: each is uploaded, and the value tells which and by what path.
// Given by the page: element, props, upload. Events are listened to at the element, as what is inside is drawn anew.
const AT_ONCE = 8;
let turn = 0;

function say(said, files = []) {
  props.value = JSON.stringify(files);
  props.said = said;
}

async function walk(entry, before) {
  const path = before + entry.name;
  if (entry.isFile) return [[path, await new Promise((found, failed) => entry.file(found, failed))]];
  const reader = entry.createReader(), all = [];
  for (;;) { // a reader gives a hundred at a time
    const some = await new Promise((found, failed) => reader.readEntries(found, failed));
    if (!some.length) return all;
    for (const one of some) all.push(...await walk(one, path + "/"));
  }
}

async function take(finding) {
  const mine = ++turn, files = [];
  say("reading …", null);
  try {
    const found = (await finding).filter(([path]) => !path.split("/").some((part) => part.startsWith(".")));
    for (let i = 0; i < found.length && turn === mine; i += AT_ONCE) {
      say(`${i} of ${found.length} files …`, null);
      const some = found.slice(i, i + AT_ONCE);
      files.push(...await Promise.all(some.map(async ([path, file]) => [path, (await upload(file)).path])));
    }
    if (turn !== mine) return;
    const tops = [...new Set(files.map(([path]) => path.split("/")[0]))];
    const names = tops.slice(0, 3).join(", ") + (tops.length > 3 ? " …" : "");
    say(files.length ? `${names} (${files.length} file${files.length === 1 ? "" : "s"})` : "", files);
  } catch (error) {
    if (turn === mine) say(`not uploaded: ${error.message || error}`);
  }
}

element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.choose) element.querySelector(`input.${button.dataset.choose}`).click();
  else if (button) turn++, say("");
});
element.addEventListener("change", (event) => {
  take(Promise.resolve([...event.target.files].map((file) => [file.webkitRelativePath || file.name, file])));
});
element.addEventListener("dragover", (event) => event.preventDefault());
element.addEventListener("drop", (event) => {
  event.preventDefault();
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
  take(Promise.all(entries.map((entry) => walk(entry, ""))).then((all) => all.flat()));
});
