import { greeting } from "./greeting.js";

const show = (text) => {
  document.getElementById("greeting").textContent = text;
};

show(greeting);

// An edit of greeting.js arrives here, and the page is not loaded again.
import.meta.hot?.accept("./greeting.js", (changed) => show(changed.greeting));
