import { render } from "preact";

import "./style.css";
import { App } from "./view/app";

render(<App />, document.getElementById("app")!);
