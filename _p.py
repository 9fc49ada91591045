import numpy as np, tensorflow as tf, time, sys
from tests.rigs.calibration.installations import *
from models.artifacts import load_backbone
from models.localizer import Localizer
from models.physics.observation import observe, Observation
from models.covariance_estimator.continuous import refine_atoms
from models.covariance_estimator.likelihood import Atoms
from pipeline.calibration.statistics import scene_statistics
from pipeline.evaluation.estimators import localizer_estimator
from pipeline.evaluation.predictions import run_estimator, evaluate_predictions
from pipeline.evaluation.metrics import metrics_config
from pathlib import Path
import dataclasses
phase,dead,n,seed=float(sys.argv[1]),float(sys.argv[2]),int(sys.argv[3]),int(sys.argv[4]); iters=int(sys.argv[5])
rng=np.random.default_rng((seed,99))
inst=draw_installation(rng,Errors(phase,dead))
g0=inst.element_response
cal=draw_scenes((seed,1),n,inst); test=draw_scenes((seed,2),int(sys.argv[6]),inst)
bb=load_backbone(Path('models/weights/backbone.keras')); loc=Localizer(bb); sc=bb.scenario
est=localizer_estimator(loc)
def f1(g):
    bs=[{k:v[i:i+20] for k,v in test.items()} for i in range(0,len(test['snr_db']),20)]
    bs=[{**b,'ris_codes':(b['ris_codes']*g).astype(np.complex64)} for b in bs]
    p=run_estimator(est,bs,len(test['snr_db']),show_progress=False)
    e=evaluate_predictions(p,metrics_config(sc)); return float(e.standard.total().f1)
cfg=dataclasses.replace(bb.config.continuous,settling_steps=2)
@tf.function(autograph=False)
def relocate(s,c,h,snr,g):
    o=observe(s,c*g,h,snr); p=bb.predict_covariance(o); return p.atoms
@tf.function(autograph=False,reduce_retracing=True)
def refine(s,c,h,snr,g,atoms):
    o=observe(s,c*g,h,snr); return refine_atoms(o,atoms,sc.array,sc.field_of_view,cfg,2)[0]
import functools
C64=tf.complex64
@functools.cache
def statf(K):
    @tf.function(autograph=False,input_signature=[tf.TensorSpec([None,64,16],C64),tf.TensorSpec([None,64,144],C64),tf.TensorSpec([None,16,144],C64),tf.TensorSpec([None]),tf.TensorSpec([144],C64),tf.TensorSpec([None,K,4]),tf.TensorSpec([None,K],tf.bool),tf.TensorSpec([None])])
    def stats(s,c,h,snr,g,p,ac,nz):
        o=observe(s,c,h,snr); return scene_statistics(o,g,Atoms(p,ac,nz),sc.array,sc.field_of_view)
    return stats
def stats(s,c,h,snr,g,atoms): return statf(atoms.active.shape[-1])(s,c,h,snr,g,*atoms)
def grouped(b,g,atoms):
    k=atoms.active.numpy().sum(1); out=None
    order=np.argsort(~atoms.active.numpy(),axis=1,kind='stable')
    for K in range(1,6):
        i=np.where(k==K)[0]
        if not len(i): continue
        par=np.take_along_axis(atoms.parameters.numpy()[i],order[i][:,:K,None],1)
        a=Atoms(tf.constant(par),tf.ones((len(i),K),tf.bool),tf.gather(atoms.noise_power,i))
        r=stats(*(tf.gather(b[x],i) for x in INPUTS),g,a)
        r=[r.nll.numpy().sum(),r.score.numpy().sum(0).astype(float),r.information.numpy().astype(float),r.gradient.numpy().astype(complex),r.complete.numpy().astype(complex)]
        out=r if out is None else [x+y for x,y in zip(out,r)]
    return out
def err(g):
    a=np.vdot(g,g0)/np.vdot(g,g); return np.sqrt(np.mean(abs(a*g-g0)**2)/np.mean(abs(g0)**2))
g=np.ones(144,np.complex64); N=144
print('start',err(g)); one=np.concatenate([np.ones(N),np.zeros(N)])
bs=[{k:tf.constant(cal[k][i:i+20]) for k in INPUTS} for i in range(0,n,20)]
v=.3
for it in range(iters):
    t=time.time(); tot=None; tl=0
    at=[]
    for j,b in enumerate(bs):
        t0=time.time(); gt=tf.constant(g)
        if it<4 or it%3==0: a=relocate(*(b[x] for x in INPUTS),gt)
        else: a=refine(*(b[x] for x in INPUTS),gt,prev[j])
        at.append(a); tl+=time.time()-t0
        r=grouped(b,gt,a); tot=r if tot is None else [x+y for x,y in zip(tot,r)]
    prev=at
    nll,z,J,e,T=tot
    x=np.concatenate([g.real,g.imag]).astype(float)
    lam=2/v
    A=J+lam*np.eye(2*N); step=np.linalg.solve(A,z+lam*(one-x))
    C=np.linalg.inv(A)
    xn=x+step
    v=max((np.sum((xn-one)**2)+np.trace(C))/N,1e-4)
    g=(xn[:N]+1j*xn[N:])
    scale=np.median(abs(g)); ph=np.angle(g.sum())
    g=(g/scale*np.exp(-1j*ph)).astype(np.complex64)
    w=np.linalg.eigvalsh(J)
    print(it,'nll %.1f'%nll,'err %.4f'%err(g),'step %.3f'%np.linalg.norm(step),'v %.3f'%v,'crb %.4f'%np.sqrt(np.trace(C)/N),'eig',w[:7].round(2),w[-1].round(0),'%.1fs (loc %.1f)'%(time.time()-t,tl),flush=True)
print('F1 not told',f1(np.ones(N)),'calibrated',f1(g),'told',f1(g0))
np.save('/tmp/g_%s_%s_%d_%d.npy'%(phase,dead,n,seed),np.stack([g,g0]))
