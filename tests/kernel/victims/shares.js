// Burns CPU time, 60 % in a(), 30 % in b(), 10 % in c(). Goes on until killed.
'use strict';
const fs = require('fs');
let sum = 0;

function burn(turns) {
  for (let i = 0; i < turns; i++) sum = (sum * 31 + i) | 0;
}

function a() { burn(6000000); }
function b() { burn(3000000); }
class Outer { größe() { burn(1000000); } }
const outer = new Outer();
function c() { outer.größe(); }

function turn() {
  a();
  b();
  c();
  setImmediate(turn);
}

fs.writeFileSync('/proc/self/comm', process.argv[2]);
console.log('burning');
turn();
