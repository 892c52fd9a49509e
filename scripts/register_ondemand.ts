/** The reference's name of the script `register`. */
import './register.ts';
